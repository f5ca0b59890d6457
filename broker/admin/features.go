package admin

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/infra/metalog"
)

// TransactionFeature decides what transactions clients have (KIP-890): version 2 if its level is 2, else 1.
const TransactionFeature = "transaction.version"

// Feature is one that the brokers can use at levels from 0 on (KIP-584). Its level is that of the
// cluster's metadata, or the highest one as long as none was set.
type Feature struct {
	Name string
	Max  int16
}

// Features returns all there are, in order of name. KRaft's metadata.version is none of them:
// Forebay's metadata has no levels.
func Features() []Feature { return []Feature{{TransactionFeature, 2}} }

// Level is the level of a feature in the cluster.
func (f Feature) Level(img *metalog.Image) int16 {
	if level, set := img.Feature(f.Name); set {
		return min(level, f.Max)
	}
	return f.Max
}

// Upgrade is the way a feature's level may go, by Kafka's number of it.
type Upgrade int8

// The ways.
const (
	UpgradeOnly     Upgrade = 1
	SafeDowngrade   Upgrade = 2
	UnsafeDowngrade Upgrade = 3
)

// FeatureUpdate asks for another level of a feature.
type FeatureUpdate struct {
	Name  string
	Level int16
	Type  Upgrade
}

// UpdateFeatures is the change that makes all updates, or none; its records are
// FeatureFinalized. It fails with INVALID_UPDATE_VERSION and INVALID_REQUEST.
func UpdateFeatures(updates []FeatureUpdate) *Change {
	ch := &Change{Action: ActionUpdateFeatures, Resource: metalog.Resource{Type: metalog.ResourceFeature}, Size: 64 * len(updates)}
	if len(updates) == 1 {
		ch.Resource.Name = updates[0].Name
	}
	ch.Decide = func(img *metalog.Image) ([]metalog.Record, error) {
		if len(updates) == 0 {
			return nil, fmt.Errorf("update features: none is named: %w", kerr.InvalidRequest)
		}
		records := make([]metalog.Record, len(updates))
		for i, u := range updates {
			if err := u.check(img); err != nil {
				return nil, err
			}
			records[i] = metalog.FeatureFinalized{Name: u.Name, Level: u.Level}
		}
		return records, nil
	}
	return ch
}

// check checks one change of a feature's level. It fails with INVALID_UPDATE_VERSION.
func (u FeatureUpdate) check(img *metalog.Image) error {
	refuse := func(why string, args ...any) error {
		return fmt.Errorf("set feature %q to level %d: %s: %w", u.Name, u.Level, fmt.Sprintf(why, args...), kerr.InvalidUpdateVersion)
	}
	for _, f := range Features() {
		if f.Name != u.Name {
			continue
		}
		now := f.Level(img)
		switch {
		case u.Type < UpgradeOnly || u.Type > UnsafeDowngrade:
			return refuse("there is no upgrade of type %d", u.Type)
		case u.Level < 0:
			return refuse("levels are not negative")
		case u.Level > f.Max:
			return refuse("brokers support levels up to %d", f.Max)
		case u.Level < now && u.Type == UpgradeOnly:
			return refuse("it is at %d, and to lower that takes a safe or an unsafe downgrade", now)
		case u.Level > now && u.Type != UpgradeOnly:
			return refuse("it is at %d, which makes this no downgrade", now)
		}
		return nil
	}
	return refuse("brokers do not support it")
}
