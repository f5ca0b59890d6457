//go:build !metadatalevel1

package metalog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/slotlog"
)

// openUpTo opens a Log of a release that supports levels up to most.
func (c cluster) openUpTo(t *testing.T, most int16) *Log {
	t.Helper()
	l, err := Open(ctx, Options{Store: c.store, Objects: c.objects, MaxLevel: most})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close(ctx)) })
	return l
}

var audited = Audited{At: 1, By: "User:a", Action: "topic.create", Key: "k"}

// TestLevelsAreComplete: each level has a release, and no record takes one that nobody supports.
func TestLevelsAreComplete(t *testing.T) {
	require.Len(t, levels, int(LatestLevel))
	for i, l := range levels {
		require.NotEmpty(t, l.since)
		require.True(t, i == 0 || l.snapshot >= levels[i-1].snapshot)
	}
	require.Equal(t, frameVersions[imageMagic], levels[LatestLevel-1].snapshot)
	highest := int16(0)
	for _, r := range everyRecord() {
		require.LessOrEqual(t, levelOf(r), LatestLevel)
		highest = max(highest, levelOf(r))
	}
	require.Equal(t, LatestLevel, highest)
}

func TestFoundedAtTheHighestLevel(t *testing.T) {
	require.Equal(t, LatestLevel, newCluster().open(t, 0, 0).Image().Level())
	require.EqualValues(t, 1, newCluster().openUpTo(t, 1).Image().Level())
}

// TestNothingAboveTheLevel: what takes a higher level is not appended, alone or with others, until the
// level is raised, which may be in the same slot.
func TestNothingAboveTheLevel(t *testing.T) {
	c := newCluster()
	c.openUpTo(t, 1)
	l := c.open(t, 0, 0)
	for _, records := range [][]Record{{audited}, {created("a", 1, 1), audited}, {FinalizeLevel(1), audited}} {
		_, err := l.Update(ctx, func(*Image) ([]Record, error) { return records, nil })
		require.ErrorIs(t, err, ErrLevel)
		require.ErrorContains(t, err, "append audited")
		require.EqualValues(t, 1, l.Image().Version())
	}
	require.False(t, l.Image().Allows(audited, nil))
	require.True(t, l.Image().Allows(created("a", 1, 1), nil))
	raise := []Record{audited, FinalizeLevel(2)}
	require.True(t, l.Image().Allows(audited, raise))
	require.EqualValues(t, 2, add(t, l, raise...).Level())
	require.True(t, add(t, l, audited).Allows(audited, nil))
}

// TestReaderOfALowerLevel: it stops where the level is raised, and says which release can go on;
// and so it does when it starts anew, from the slots or from a snapshot.
func TestReaderOfALowerLevel(t *testing.T) {
	c := newCluster()
	old := c.openUpTo(t, 1)
	newer := c.open(t, 0, 1)
	add(t, newer, created("a", 1, 1))
	require.NoError(t, old.Refresh(ctx))
	add(t, newer, audited, FinalizeLevel(2))
	before := old.Image()
	refused := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, ErrNewer)
		require.ErrorContains(t, err, LevelFeature+" is at level 2, which takes Forebay 0.1.0 or later; this one supports levels up to 1")
	}
	refused(old.Refresh(ctx))
	require.Same(t, before, old.Image())
	_, err := old.Update(ctx, func(*Image) ([]Record, error) { return []Record{created("b", 2, 1)}, nil })
	refused(err)
	_, err = Open(ctx, Options{Store: c.store, Objects: c.objects, MaxLevel: 1})
	refused(err)
	require.NoError(t, newer.Snapshot(ctx))
	_, err = Open(ctx, Options{Store: c.store, Objects: c.objects, MaxLevel: 1})
	refused(err)
}

// TestUnknownLevel: a level of a release to come is told apart from damage, whatever else its slot has.
func TestUnknownLevel(t *testing.T) {
	body := []byte(`[{"t":"planet-moved","v":1,"d":{}},{"t":"feature-finalized","v":1,"d":{"name":"` + LevelFeature + `","level":9,"since":"7.0.0","more":1}}]`)
	payload, err := appendFrame(nil, slotMagic, 1, body)
	require.NoError(t, err)
	_, err = DecodeSlot(payload)
	require.ErrorIs(t, err, ErrNewer)
	require.ErrorContains(t, err, "at level 9, which takes Forebay 7.0.0 or later")

	c := newCluster()
	c.open(t, 0, 0)
	require.NoError(t, slotlog.Open(c.store, stream).Append(ctx, 2, payload))
	_, err = Load(ctx, c.store, c.objects)
	require.ErrorContains(t, err, "Forebay 7.0.0")

	_, err = c.store.Get(ctx, pointerKey)
	require.ErrorIs(t, err, kv.ErrNotFound)
	value := []byte(`{"v":1,"current":{"version":7,"object":"metalog/7-x"},"level":9}`)
	require.NoError(t, c.store.Write(ctx, kv.Write{Key: pointerKey, Value: value})[0].Err)
	_, err = Load(ctx, c.store, c.objects)
	require.ErrorIs(t, err, ErrNewer)
	require.ErrorContains(t, err, "which takes a later release")
}

// TestSnapshotsByLevel: at level 1 snapshots are those that a release of level 1 reads.
func TestSnapshotsByLevel(t *testing.T) {
	for level, version := range map[int16]byte{1: 3, 2: 4} {
		c := newCluster()
		c.openUpTo(t, level)
		l := c.open(t, 0, 0)
		add(t, l, created("a", 1, 1))
		b, err := encodeImage(l.Image())
		require.NoError(t, err)
		require.Equal(t, version, b[4])
		require.NoError(t, l.Snapshot(ctx))
		m, err := Load(ctx, c.store, c.objects)
		require.NoError(t, err)
		require.Equal(t, level, m.Level())
		requireEqualImages(t, l.Image(), m)
		add(t, c.openUpTo(t, level), created("b", 2, 1))
	}
}

// TestLevelBeforeThereWereLevels: a log without one is at level 1, unless there is something in it that takes more.
func TestLevelBeforeThereWereLevels(t *testing.T) {
	plain := NewImage("c", created("a", 1, 1))
	require.EqualValues(t, 1, plain.Level())
	_, set := plain.Feature(LevelFeature)
	require.False(t, set)
	require.EqualValues(t, 2, NewImage("c", audited).Level())
	require.EqualValues(t, 2, fold(plain, []Slot{{2, []Record{audited}}}).Level())
	require.EqualValues(t, 1, plain.Level())
	for name, level := range map[string]int16{"image-v3.json": 1, "image-v4.json": 2} {
		body, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		b, err := appendFrame(nil, imageMagic, name[len("image-v")]-'0', body)
		require.NoError(t, err)
		m, err := decodeImage(b)
		require.NoError(t, err)
		require.Equal(t, level, m.Level(), name)
	}
	body, err := os.ReadFile(filepath.Join("testdata", "slot-v4.json"))
	require.NoError(t, err)
	payload, err := appendFrame(nil, slotMagic, 1, body)
	require.NoError(t, err)
	records, err := DecodeSlot(payload)
	require.NoError(t, err)
	require.EqualValues(t, 2, NewImage("c", records...).Level())
}
