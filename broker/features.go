package broker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/metalog"
)

// transactionFeature decides what transactions clients have (KIP-890): version 2 if its level is 2, else 1.
const transactionFeature = "transaction.version"

// feature is one that the brokers can use at levels from 0 on (KIP-584). Its level is that of the
// cluster's metadata, or the highest one as long as none was set.
type feature struct {
	name string
	max  int16
}

// features are all there are, in order of name. KRaft's metadata.version is none of them:
// Forebay's metadata has no levels.
var features = []feature{{transactionFeature, txnVersion2}}

// level is the level of a feature in the cluster.
func (f feature) level(img *metalog.Image) int16 {
	if level, set := img.Feature(f.name); set {
		return min(level, f.max)
	}
	return f.max
}

// transactionVersion is the level of the feature transaction.version.
func (b *Broker) transactionVersion() int8 {
	return int8(features[0].level(b.meta.Image()))
}

// nameFeatures names the features in an answer to ApiVersions. A feature at level 0 is not in
// use, and clients of versions before 4 take a feature that may be at 0 for a mistake.
func nameFeatures(resp *kmsg.ApiVersionsResponse, img *metalog.Image) {
	resp.FinalizedFeaturesEpoch = int64(img.Version())
	for _, f := range features {
		supported := kmsg.NewApiVersionsResponseSupportedFeature()
		supported.Name, supported.MaxVersion = f.name, f.max
		if resp.Version < 4 {
			supported.MinVersion = 1
		}
		resp.SupportedFeatures = append(resp.SupportedFeatures, supported)
		if level := f.level(img); level > 0 {
			finalized := kmsg.NewApiVersionsResponseFinalizedFeature()
			finalized.Name, finalized.MinVersionLevel, finalized.MaxVersionLevel = f.name, level, level
			resp.FinalizedFeatures = append(resp.FinalizedFeatures, finalized)
		}
	}
}

// The types of upgrades.
const (
	upgradeOnly     = 1
	safeDowngrade   = 2
	unsafeDowngrade = 3
)

// checkFeature checks one change of a feature's level. It fails with INVALID_UPDATE_VERSION.
func checkFeature(img *metalog.Image, name string, level int16, kind int8) error {
	refuse := func(why string, args ...any) error {
		return fmt.Errorf("set feature %q to level %d: %s: %w", name, level, fmt.Sprintf(why, args...), kerr.InvalidUpdateVersion)
	}
	for _, f := range features {
		if f.name != name {
			continue
		}
		now := f.level(img)
		switch {
		case kind < upgradeOnly || kind > unsafeDowngrade:
			return refuse("there is no upgrade of type %d", kind)
		case level < 0:
			return refuse("levels are not negative")
		case level > f.max:
			return refuse("brokers support levels up to %d", f.max)
		case level < now && kind == upgradeOnly:
			return refuse("it is at %d, and to lower that takes a safe or an unsafe downgrade", now)
		case level > now && kind != upgradeOnly:
			return refuse("it is at %d, which makes this no downgrade", now)
		}
		return nil
	}
	return refuse("brokers do not support it")
}
