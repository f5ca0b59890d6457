package admin

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
)

// TransactionFeature decides what transactions clients have (KIP-890): version 2 if its level is 2, else 1.
const TransactionFeature = "transaction.version"

var transactionLevels = session.Levels{Max: 2}

// Feature is one that the brokers can use at some levels (KIP-584).
type Feature struct {
	Name           string
	session.Levels                // that this process supports
	untold         session.Levels // that a broker supports whose session does not tell
}

// Features returns all there are, in order of name; latest is the highest level of the metadata that is
// supported, as a metalog.Log has it. KRaft's metadata.version is none of them: its levels are those of
// Kafka's formats.
func Features(latest int16) []Feature {
	return []Feature{
		{metalog.LevelFeature, session.Levels{Min: 1, Max: latest}, session.Levels{Min: 1, Max: 1}},
		{TransactionFeature, transactionLevels, transactionLevels},
	}
}

// Supported is what a session tells of features.
func Supported(features []Feature) map[string]session.Levels {
	levels := map[string]session.Levels{}
	for _, f := range features {
		levels[f.Name] = f.Levels
	}
	return levels
}

// Level is the level of a feature in the cluster: that of the metadata or, as long as none was set, the
// highest one; of the metadata itself see metalog.
func (f Feature) Level(img *metalog.Image) int16 {
	if f.Name == metalog.LevelFeature {
		return img.Level()
	}
	if level, set := img.Feature(f.Name); set {
		return min(level, f.Max)
	}
	return f.Max
}

// Supports returns the levels that the broker of a session supports.
func (f Feature) Supports(s session.Seen) session.Levels {
	if s.Features == nil {
		return f.untold
	}
	return s.Features[f.Name]
}

// TransactionVersion is the level of TransactionFeature.
func TransactionVersion(img *metalog.Image) int16 {
	return Feature{Name: TransactionFeature, Levels: transactionLevels}.Level(img)
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
// FeatureFinalized. It fails with INVALID_UPDATE_VERSION, INVALID_REQUEST, and with FEATURE_UPDATE_FAILED if
// the sessions cannot be looked at.
//
// Sessions are those of all brokers, which must support the new level. They are looked at by each decision, after
// its Image: a broker takes its session before it registers, so that whoever is not among them registers
// behind the change, and finds out by itself that it does not support the level.
func UpdateFeatures(features []Feature, sessions func() ([]session.Seen, error), updates []FeatureUpdate) *Change {
	ch := &Change{Action: ActionUpdateFeatures, Resource: metalog.Resource{Type: metalog.ResourceFeature}, Size: 64 * len(updates)}
	if len(updates) == 1 {
		ch.Resource.Name = updates[0].Name
	}
	ch.Decide = func(img *metalog.Image) ([]metalog.Record, error) {
		if len(updates) == 0 {
			return nil, fmt.Errorf("update features: none is named: %w", kerr.InvalidRequest)
		}
		brokers, err := sessions()
		if err != nil {
			return nil, fmt.Errorf("update features: ask which levels brokers support: %w: %w", kerr.FeatureUpdateFailed, err)
		}
		records := make([]metalog.Record, len(updates))
		for i, u := range updates {
			if err := u.check(img, features, brokers); err != nil {
				return nil, err
			}
			records[i] = u.record()
		}
		return records, nil
	}
	return ch
}

func (u FeatureUpdate) record() metalog.Record {
	if u.Name == metalog.LevelFeature {
		return metalog.FinalizeLevel(u.Level)
	}
	return metalog.FeatureFinalized{Name: u.Name, Level: u.Level}
}

// check checks one change of a feature's level. It fails with INVALID_UPDATE_VERSION.
func (u FeatureUpdate) check(img *metalog.Image, features []Feature, brokers []session.Seen) error {
	for _, f := range features {
		if f.Name != u.Name {
			continue
		}
		if why := u.wrong(f, f.Level(img)); why != "" {
			return u.refuse(why)
		}
		for _, b := range brokers {
			if can := f.Supports(b); u.Level < can.Min || u.Level > can.Max {
				return u.refuse(fmt.Sprintf("broker %s (%s) supports levels %d to %d: upgrade it first; if it is gone, wait until its session has expired", b.Node, b.Info, can.Min, can.Max))
			}
		}
		return nil
	}
	return u.refuse("brokers do not support it")
}

// wrong says what is wrong with the change of a feature that is at the level now, "" if nothing is.
func (u FeatureUpdate) wrong(f Feature, now int16) string {
	switch {
	case u.Type < UpgradeOnly || u.Type > UnsafeDowngrade:
		return fmt.Sprintf("there is no upgrade of type %d", u.Type)
	case u.Level < 0:
		return "levels are not negative"
	case u.Level < f.Min || u.Level > f.Max:
		return fmt.Sprintf("this release supports levels %d to %d", f.Min, f.Max)
	case u.Level < now && u.Type == UpgradeOnly:
		return fmt.Sprintf("it is at %d, and to lower that takes a safe or an unsafe downgrade", now)
	case u.Level < now && u.Name == metalog.LevelFeature:
		return fmt.Sprintf("it is at %d, and what is written cannot be read at a lower level", now)
	case u.Level > now && u.Type != UpgradeOnly:
		return fmt.Sprintf("it is at %d, which makes this no downgrade", now)
	}
	return ""
}

func (u FeatureUpdate) refuse(why string) error {
	return fmt.Errorf("set feature %q to level %d: %s: %w", u.Name, u.Level, why, kerr.InvalidUpdateVersion)
}
