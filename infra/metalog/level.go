package metalog

import (
	"errors"
	"fmt"
	"maps"
)

// LevelFeature is the feature whose finalised level says which formats may be written to the metadata
// log (KIP-584, KIP-778), so that a release that cannot read one is not met with it unprepared. Its levels
// are our own: Kafka's metadata.version stands for Kafka's formats.
const LevelFeature = "forebay.metadata.version"

// ErrLevel says that the record takes a higher level of the metadata than the cluster has. Raise it, once all
// brokers are of a release that supports it.
var ErrLevel = errors.New("level of the metadata is too low")

// level is what a level brought.
type level struct {
	since    string // the first release that supports it
	snapshot byte   // the version of snapshots
}

// levels has all, from level 1 on. What a level brought stands here and in levelOf. A log without a level
// is at 1, or at that of the highest of its records.
var levels = []level{
	{since: "0.1.0", snapshot: 3}, // what there was before the audit
	{since: "0.1.0", snapshot: 4}, // Audited, and with it idempotency keys in snapshots
}

// levelOf is the level from which on a record may be appended.
func levelOf(r Record) int16 {
	switch r.(type) {
	case Audited:
		return 2
	default:
		return 1
	}
}

// FinalizeLevel is the record that sets the level, for readers of which those that do not support it
// are told who does.
func FinalizeLevel(to int16) FeatureFinalized {
	return FeatureFinalized{Name: LevelFeature, Level: to, Since: since(to)}
}

// since is the first release that supports a level, "" if this one does not know it.
func since(l int16) string {
	if l < 1 || int(l) > len(levels) {
		return ""
	}
	return levels[l-1].since
}

// supported fails with ErrNewer if a process that supports levels up to most meets the level l.
func supported(l int16, release string, most int16) error {
	if l <= most {
		return nil
	}
	takes := "a later release"
	if release != "" {
		takes = "Forebay " + release + " or later"
	}
	return fmt.Errorf("%w: %s is at level %d, which takes %s; this one supports levels up to %d", ErrNewer, LevelFeature, l, takes, most)
}

// Level is that of the metadata: which formats may be in the log, and are written.
func (m *Image) Level() int16 { return max(1, m.features[LevelFeature]) }

// raise sets the level if it is lower: what is in the log from before there were levels tells it.
func (m *Image) raise(to int16) {
	if to <= m.Level() {
		return
	}
	features := make(map[string]int16, len(m.features)+1)
	maps.Copy(features, m.features)
	features[LevelFeature] = to
	m.features = features
}

// snapshotVersion is that of the snapshots which are written at a level.
func snapshotVersion(l int16) byte { return levels[min(int(l), len(levels))-1].snapshot }

// levelOfSnapshot is the level of a snapshot that has none, by its version.
func levelOfSnapshot(version byte) int16 {
	for i, l := range levels {
		if version <= l.snapshot {
			return int16(i + 1)
		}
	}
	return int16(len(levels))
}

// LevelAfter is the level that records may have which are appended with these.
func (m *Image) LevelAfter(records []Record) int16 {
	l := m.Level()
	for _, r := range records {
		if f, ok := r.(FeatureFinalized); ok && f.Name == LevelFeature {
			l = max(l, f.Level)
		}
	}
	return l
}

// Allows reports whether r may be appended, in one slot with others.
func (m *Image) Allows(r Record, with []Record) bool { return levelOf(r) <= m.LevelAfter(with) }

// allow fails with ErrLevel if one of the records must not be appended yet.
func (m *Image) allow(records []Record) error {
	for _, r := range records {
		if !m.Allows(r, records) {
			return fmt.Errorf("append %s: %w: it takes level %d of %s, which is at %d", r.kind().name, ErrLevel, levelOf(r), LevelFeature, m.Level())
		}
	}
	return nil
}
