package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
)

// transactionVersion is the level of the feature transaction.version.
func (b *Broker) transactionVersion() int8 { return int8(admin.TransactionVersion(b.meta.Image())) }

// features are what this broker supports.
func (b *Broker) features() []admin.Feature { return admin.Features(b.meta.MaxLevel()) }

// nameFeatures names the features in an answer to ApiVersions. A feature at level 0 is not in
// use, and clients of versions before 4 take a feature that may be at 0 for a mistake.
func nameFeatures(resp *kmsg.ApiVersionsResponse, features []admin.Feature, img *metalog.Image) {
	resp.FinalizedFeaturesEpoch = int64(img.Version())
	for _, f := range features {
		supported := kmsg.NewApiVersionsResponseSupportedFeature()
		supported.Name, supported.MinVersion, supported.MaxVersion = f.Name, f.Min, f.Max
		if resp.Version < 4 {
			supported.MinVersion = max(1, f.Min)
		}
		resp.SupportedFeatures = append(resp.SupportedFeatures, supported)
		if level := f.Level(img); level > 0 {
			finalized := kmsg.NewApiVersionsResponseFinalizedFeature()
			finalized.Name, finalized.MinVersionLevel, finalized.MaxVersionLevel = f.Name, level, level
			resp.FinalizedFeatures = append(resp.FinalizedFeatures, finalized)
		}
	}
}
