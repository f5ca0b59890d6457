package offsets

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

func topicID(n int) id.Topic { return id.Topic{0: 1, 15: byte(n)} }

func entry(topic int, partition int32, offset id.Offset) Entry {
	return Entry{
		Topic: topicID(topic), TopicName: fmt.Sprint("topic ", topic), Partition: partition, Offset: offset,
		LeaderEpoch: -1, CommitTime: time.UnixMilli(1_700_000_000_123).UTC(),
	}
}

func load(t *testing.T, s kv.Store, group string) []Entry {
	t.Helper()
	entries, err := Open(s, Sole).Read(ctx, group)
	require.NoError(t, err)
	return entries
}

func groups(t *testing.T, s kv.Store) []string {
	t.Helper()
	names, err := Open(s, Sole).Groups(ctx)
	require.NoError(t, err)
	return names
}

// eachStore runs test on every driver.
func eachStore(t *testing.T, test func(t *testing.T, s kv.Store)) {
	t.Run("mem", func(t *testing.T) { test(t, kv.NewMem()) })
	t.Run("bolt", func(t *testing.T) {
		s, err := kv.OpenBolt(filepath.Join(t.TempDir(), "kv.db"), kv.BoltOptions{NoSync: true})
		require.NoError(t, err)
		test(t, s)
		require.NoError(t, s.Close())
	})
}

func TestCommitAndLoad(t *testing.T) {
	eachStore(t, func(t *testing.T, s kv.Store) {
		table := Open(s, Sole)
		require.Empty(t, groups(t, s))
		require.Empty(t, load(t, s, "g"))
		require.NoError(t, table.Commit(ctx, "g", 0, nil))
		require.Empty(t, groups(t, s), "nothing was committed")

		full := entry(2, 0, 7)
		full.LeaderEpoch, full.Metadata, full.ExpireTime = 5, "not UTF-8: \xff\x00", time.UnixMilli(1_800_000_000_000).UTC()
		require.NoError(t, table.Commit(ctx, "g", 0, []Entry{entry(1, 10, 1), full, entry(1, 2, 1), entry(1, 2, 99)}))
		require.Equal(t, []Entry{entry(1, 2, 99), entry(1, 10, 1), full}, load(t, s, "g"), "the later of two wins")
		require.NoError(t, table.Commit(ctx, "g", 0, []Entry{entry(1, 2, 50)}), "an offset may go back on purpose")
		require.NoError(t, table.Commit(ctx, "group", 0, []Entry{entry(1, 2, 3)}))
		require.Equal(t, []Entry{entry(1, 2, 50), entry(1, 10, 1), full}, load(t, s, "g"))
		require.Equal(t, []Entry{entry(1, 2, 3)}, load(t, s, "group"))
		require.Equal(t, []string{"g", "group"}, groups(t, s))
	})
}

func TestDelete(t *testing.T) {
	eachStore(t, func(t *testing.T, s kv.Store) {
		require.NoError(t, Open(s, Sole).Commit(ctx, "g", 0, []Entry{entry(1, 0, 1), entry(1, 1, 1), entry(2, 0, 1)}))
		table := Open(s, Sole) // has read nothing yet
		one := id.Partition{Topic: topicID(1), Index: 1}
		require.NoError(t, table.Delete(ctx, "g", 0, one, one, id.Partition{Topic: topicID(9)}))
		require.Equal(t, []Entry{entry(1, 0, 1), entry(2, 0, 1)}, load(t, s, "g"))
		require.NoError(t, table.Commit(ctx, "g", 0, []Entry{entry(1, 1, 8)}))
		require.Len(t, load(t, s, "g"), 3)

		require.NoError(t, table.DeleteGroup(ctx, "g", 0))
		require.NoError(t, table.DeleteGroup(ctx, "g", 0), "there is none")
		require.Empty(t, load(t, s, "g"))
		require.Empty(t, groups(t, s))
		require.NoError(t, table.Commit(ctx, "g", 0, []Entry{entry(1, 1, 9)}))
		require.Equal(t, []Entry{entry(1, 1, 9)}, load(t, s, "g"))
		require.Equal(t, []string{"g"}, groups(t, s))
	})
}

// TestDeleteGroupMeetsCommit: at whatever moment a new coordinator commits, the old
// one's DeleteGroup leaves no offset that the index does not list.
func TestDeleteGroupMeetsCommit(t *testing.T) {
	for stop := 1; ; stop++ {
		s, ops, met := kv.NewMem(), 0, false
		old := Open(kv.Inject(s, func(kv.Op) kv.Fault {
			if ops++; ops == stop {
				met = true
				require.NoError(t, Open(s, Sole).Commit(ctx, "g", 1, []Entry{entry(1, 7, 20)}))
			}
			return kv.FaultNone
		}), Sole)
		ops = -1 << 30
		require.NoError(t, Open(s, Sole).Commit(ctx, "g", 0, []Entry{entry(1, 0, 10)}))
		_, err := old.Load(ctx, "g", 0)
		require.NoError(t, err)
		ops = 0
		_ = old.DeleteGroup(ctx, "g", 0) // done or fenced: either is right
		if !met {
			require.Greater(t, stop, 2)
			return
		}
		require.Contains(t, load(t, s, "g"), entry(1, 7, 20))
		require.Equal(t, []string{"g"}, groups(t, s), "stopped at %d", stop)
	}
}

func TestForget(t *testing.T) {
	s := kv.NewMem()
	table := Open(s, Sole)
	for i := range 100 {
		_, err := table.Load(ctx, fmt.Sprint("no such group ", i), 0)
		require.NoError(t, err)
		table.Forget(fmt.Sprint("no such group ", i), 0)
	}
	require.Empty(t, table.groups)
	require.NoError(t, table.Commit(ctx, "g", 0, []Entry{entry(1, 0, 1)}))
	require.NoError(t, table.DeleteGroup(ctx, "g", 0))
	require.Empty(t, table.groups)
}

func TestGroupNames(t *testing.T) {
	s := kv.NewMem()
	table := Open(s, Sole)
	names := []string{"", "a", "a/b", "100%", "%41", "%", "%%", "zero\x00byte", "not UTF-8 \xff\xc3", "ünï", "new\nline", strings.Repeat("x", 900)}
	for i, name := range names {
		require.NoError(t, table.Commit(ctx, name, 0, []Entry{entry(1, 0, id.Offset(i))}), "%q", name)
	}
	for i, name := range names {
		require.Equal(t, []Entry{entry(1, 0, id.Offset(i))}, load(t, s, name), "%q", name)
	}
	require.ElementsMatch(t, names, groups(t, s))
	for _, name := range []string{strings.Repeat("x", 901), strings.Repeat("\x00", 301)} {
		require.ErrorIs(t, table.Commit(ctx, name, 0, []Entry{entry(1, 0, 1)}), ErrInvalidGroup)
		_, err := table.Load(ctx, name, 0)
		require.ErrorIs(t, err, ErrInvalidGroup)
		require.ErrorIs(t, table.DeleteGroup(ctx, name, 0), ErrInvalidGroup)
		require.ErrorIs(t, table.Delete(ctx, name, 0), ErrInvalidGroup)
		table.Forget(name, 0)
	}
}

func TestInvalidEntries(t *testing.T) {
	s := kv.NewMem()
	table := Open(s, Sole)
	long, huge := entry(1, 0, 1), entry(1, 0, 1)
	long.TopicName = strings.Repeat("n", maxTopicName+1)
	huge.Metadata = strings.Repeat("m", kv.MaxValue)
	for _, e := range []Entry{entry(1, -1, 1), long} {
		require.Error(t, table.Commit(ctx, "g", 0, []Entry{e, entry(1, 5, 1)}))
		require.Empty(t, load(t, s, "g"), "all or none")
	}
	require.ErrorIs(t, table.Commit(ctx, "g", 0, []Entry{huge}), kv.ErrTooLarge)
}

func TestCommitAll(t *testing.T) {
	s := kv.NewMem()
	calls := &counting{Store: s}
	table := Open(calls, Sole)
	batches := []Batch{
		{"a", 0, []Entry{entry(1, 0, 1)}},
		{"b", 0, []Entry{entry(1, 0, 2)}},
		{strings.Repeat("x", 1000), 0, []Entry{entry(1, 0, 2)}},
		{"a", 0, []Entry{entry(1, 0, 3), entry(1, 1, 3)}},
		{"c", 0, nil},
	}
	for range 2 {
		calls.writes = 0
		errs := table.CommitAll(ctx, batches)
		require.Len(t, errs, 5)
		for i, err := range errs {
			if i == 2 {
				require.ErrorIs(t, err, ErrInvalidGroup)
			} else {
				require.NoError(t, err)
			}
		}
	}
	require.Equal(t, 1, calls.writes, "one write for all, once the groups are listed")
	require.Equal(t, []Entry{entry(1, 0, 3), entry(1, 1, 3)}, load(t, s, "a"))
	require.Equal(t, []string{"a", "b"}, groups(t, s))
}

// counting counts the calls of Write.
type counting struct {
	kv.Store
	writes int
}

func (c *counting) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	c.writes++
	return c.Store.Write(ctx, writes...)
}

// TestUnknownOutcomes: whatever the store does, what was answered with success is
// there, and offsets never go back.
func TestUnknownOutcomes(t *testing.T) {
	for seed := range uint64(10) {
		s := kv.NewMem()
		table := Open(kv.NewFlaky(s, seed, kv.FlakyRates{Fail: 0.1, Lost: 0.1, Landed: 0.2, Late: 0.1, Read: 0.1}), Sole)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				group, stored := fmt.Sprint("g", g), id.Offset(0)
				for offset := id.Offset(1); offset <= 40; offset++ {
					err := table.Commit(ctx, group, 0, []Entry{entry(1, 0, offset)})
					if err != nil && !errors.Is(err, kv.ErrInjected) {
						t.Errorf("seed %d: %v", seed, err)
						return
					}
					if err == nil {
						stored = offset
					}
					entries, loadErr := Open(s, Sole).Load(ctx, group, 0)
					if loadErr != nil || stored > 0 && (len(entries) != 1 || entries[0].Offset != stored) {
						t.Errorf("seed %d, %s: want %d, have %v, %v (%v)", seed, group, stored, entries, loadErr, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestConcurrentCommitsOfManyGroups(t *testing.T) {
	eachStore(t, func(t *testing.T, s kv.Store) {
		table := Open(s, Sole)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(w), 0))
				for i := range 30 {
					batches := make([]Batch, 5)
					for j, g := range rng.Perm(6)[:5] { // in any order: no deadlock
						batches[j] = Batch{fmt.Sprint("g", g), 0, []Entry{entry(w, 0, id.Offset(i))}}
					}
					for _, err := range table.CommitAll(ctx, batches) {
						if err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		for g := range 6 {
			require.Len(t, load(t, s, fmt.Sprint("g", g)), 8)
		}
	})
}

func TestDamagedItems(t *testing.T) {
	good, err := appendValue(nil, item{Entry: entry(1, 0, 1)})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		sort  string
		value []byte
		want  error
	}{
		"empty":       {sortKey(id.Partition{Topic: topicID(1)}), nil, ErrCorrupt},
		"newer":       {sortKey(id.Partition{Topic: topicID(1)}), append([]byte{9}, good[1:]...), ErrNewer},
		"older":       {sortKey(id.Partition{Topic: topicID(1)}), append([]byte{0}, good[1:]...), ErrCorrupt},
		"cut":         {sortKey(id.Partition{Topic: topicID(1)}), good[:35], ErrCorrupt},
		"cut before":  {sortKey(id.Partition{Topic: topicID(1)}), append([]byte{1}, good[1:30]...), ErrCorrupt},
		"flags":       {sortKey(id.Partition{Topic: topicID(1)}), slices.Replace(slices.Clone(good), 33, 34, 2), ErrCorrupt},
		"name cut":    {sortKey(id.Partition{Topic: topicID(1)}), good[:37], ErrCorrupt},
		"key":         {"elephant", good, ErrCorrupt},
		"topic":       {"elephant/0000000000", good, ErrCorrupt},
		"index":       {topicID(1).String() + "/000000000x", good, ErrCorrupt},
		"index large": {topicID(1).String() + "/9999999999", good, ErrCorrupt},
	} {
		s := kv.NewMem()
		_, err := kv.PutIfAbsent(ctx, s, kv.Key{Part: "offsets/g", Sort: c.sort}, c.value)
		require.NoError(t, err)
		_, err = Open(s, Sole).Load(ctx, "g", 0)
		require.ErrorIs(t, err, c.want, name)
		require.ErrorIs(t, Open(s, Sole).Commit(ctx, "g", 0, []Entry{entry(1, 0, 1)}), c.want, name)
	}
}

func TestGoldenValue(t *testing.T) {
	e := item{epoch: 7, removing: true}
	e.Entry = Entry{
		TopicName: "orders", Offset: 0x0102030405060708, LeaderEpoch: -1, Metadata: "meta",
		CommitTime: time.UnixMilli(1_700_000_000_123).UTC(), ExpireTime: time.UnixMilli(1).UTC(),
	}
	want := []byte("\x02" + "\x08\x07\x06\x05\x04\x03\x02\x01" + "\xff\xff\xff\xff" + "\x7b\x68\xe5\xcf\x8b\x01\x00\x00" +
		"\x01\x00\x00\x00\x00\x00\x00\x00" + "\x07\x00\x00\x00" + "\x01" + "\x06\x00" + "orders" + "meta")
	got, err := appendValue(nil, e)
	require.NoError(t, err)
	require.Equal(t, want, got)
	back, err := decodeValue(want)
	require.NoError(t, err)
	require.Equal(t, e, back)

	old := append([]byte{1}, slices.Delete(want, 29, 34)[1:]...)
	back, err = decodeValue(old)
	require.NoError(t, err)
	require.Equal(t, item{Entry: e.Entry, epoch: -1}, back, "the version before knows no coordinator")

	e.ExpireTime = time.Time{}
	got, err = appendValue(nil, e)
	require.NoError(t, err)
	back, err = decodeValue(got)
	require.NoError(t, err)
	require.Equal(t, e, back)
}

// FuzzDecodeValue: the decoder never panics, and what it accepts is written again byte for byte.
func FuzzDecodeValue(f *testing.F) {
	f.Add(append([]byte{valueVersion}, make([]byte, valueFixed)...))
	for _, e := range []Entry{entry(1, 0, 1), {LeaderEpoch: 3, TopicName: "t", Metadata: "m", ExpireTime: time.UnixMilli(5)}} {
		b, err := appendValue(nil, item{Entry: e, epoch: 4})
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add(append([]byte{1}, make([]byte, valueFixed)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeValue(b)
		if err != nil {
			return
		}
		again, err := appendValue(nil, e)
		require.NoError(t, err)
		if b[0] == valueVersion {
			require.Equal(t, b, again)
			return
		}
		back, err := decodeValue(again)
		require.NoError(t, err)
		require.Equal(t, e, back)
	})
}

// FuzzKeys: a group's name survives, and keys that parse are the ones that are written.
func FuzzKeys(f *testing.F) {
	f.Add("group%\x00\xff", sortKey(id.Partition{Topic: topicID(1), Index: 7}))
	f.Fuzz(func(t *testing.T, group, sort string) {
		if escaped, err := escapeGroup(group); err == nil {
			require.NoError(t, kv.Key{Part: "offsets/" + escaped, Sort: "s"}.Validate())
			back, err := unescapeGroup(escaped)
			require.NoError(t, err)
			require.Equal(t, group, back)
		}
		_, _ = unescapeGroup(sort) // must not panic
		if p, err := parseSortKey(sort); err == nil && p.Topic.String() == strings.SplitN(sort, "/", 2)[0] {
			require.Equal(t, sort, sortKey(p))
		}
	})
}

func TestSortKeysOrderPartitions(t *testing.T) {
	var keys []string
	for _, index := range []int32{0, 1, 9, 10, 99, 100, 1<<31 - 1} {
		p := id.Partition{Topic: topicID(1), Index: index}
		keys = append(keys, sortKey(p))
		back, err := parseSortKey(sortKey(p))
		require.NoError(t, err)
		require.Equal(t, p, back)
	}
	require.True(t, slices.IsSorted(keys))
}
