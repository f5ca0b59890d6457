package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
)

// transactionVersion is the level of the feature transaction.version.
func (b *Broker) transactionVersion() int8 {
	return int8(admin.Features()[0].Level(b.meta.Image()))
}

// nameFeatures names the features in an answer to ApiVersions. A feature at level 0 is not in
// use, and clients of versions before 4 take a feature that may be at 0 for a mistake.
func nameFeatures(resp *kmsg.ApiVersionsResponse, img *metalog.Image) {
	resp.FinalizedFeaturesEpoch = int64(img.Version())
	for _, f := range admin.Features() {
		supported := kmsg.NewApiVersionsResponseSupportedFeature()
		supported.Name, supported.MaxVersion = f.Name, f.Max
		if resp.Version < 4 {
			supported.MinVersion = 1
		}
		resp.SupportedFeatures = append(resp.SupportedFeatures, supported)
		if level := f.Level(img); level > 0 {
			finalized := kmsg.NewApiVersionsResponseFinalizedFeature()
			finalized.Name, finalized.MinVersionLevel, finalized.MaxVersionLevel = f.Name, level, level
			resp.FinalizedFeatures = append(resp.FinalizedFeatures, finalized)
		}
	}
}
