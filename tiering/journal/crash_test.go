package journal

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
)

var errStop = errors.New("the machine stops here")

// story is what was appended and how far it was acknowledged.
type story struct {
	order []located // in the order of append
	views []batch.View
	acked int // so many of order were synced
	m     model
	first map[id.Partition]id.Offset // lowest offset that no drop was begun for
}

// tell runs a fixed sequence of appends, syncs, rolls, a drop and a clean end until fs fails.
func (s *story) tell(fs vfs.FS) error {
	cfg := testConfig(fs)
	cfg.SegmentBytes = 4 << 10
	j, _, err := Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	err = s.run(j)
	return errors.Join(err, j.Close(context.Background()))
}

func (s *story) run(j *Journal) error {
	for step := range 12 {
		for k := range 3 {
			p := partition((step + k) % 3)
			v := newBatch(p, s.m.next(p), 1+k, 40+step*17)
			if _, err := j.Append(p, v); err != nil {
				return err
			}
			s.m[p] = append(s.m[p], v)
			s.order = append(s.order, located{p: p, Entry: Entry{Base: v.BaseOffset(), Next: v.NextOffset()}})
			s.views = append(s.views, v)
		}
		if _, err := j.Flush(); err != nil {
			return err
		}
		if step%3 == 2 {
			continue // the next sync covers two flushes
		}
		if _, err := j.Sync(); err != nil {
			return err
		}
		s.acked = len(s.order)
		if step == 7 {
			if err := j.Roll(); err != nil {
				return err
			}
			oldest := j.Segments()[0]
			for p, x := range oldest.Partitions {
				s.first[p] = x.Next
			}
			if err := j.Drop(oldest.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// check opens what the crash left and compares it with the story.
func (s *story) check(t *testing.T, fs vfs.FS) {
	cfg := testConfig(fs)
	cfg.SegmentBytes = 4 << 10
	j, rec, err := Open(context.Background(), cfg)
	require.NoError(t, err)
	defer closeTest(t, j)
	require.Empty(t, rec.Corrupt, "a crash is no corruption")

	n := 0 // of the story, that the log holds; the log must be a prefix
	got := map[id.Partition]int{}
	require.NoError(t, j.Replay(context.Background(), func(id.Partition) id.Offset { return 0 }, func(p id.Partition, e Entry, v batch.View) error {
		for s.order[n].p != p || s.order[n].Base != e.Base {
			require.Less(t, s.order[n].Base, s.first[s.order[n].p], "batch %d of the story is missing before others", n)
			n++
		}
		require.Equal(t, s.views[n], v)
		n++
		got[p]++
		return nil
	}))
	for ; n < s.acked; n++ {
		require.Less(t, s.order[n].Base, s.first[s.order[n].p], "acknowledged batch %d of %d is lost", n, s.acked)
	}
	for p := range got {
		read := readAll(t, j, p, 500)
		require.Len(t, read, got[p])
	}
	for p := range s.m { // and it takes appends from there on
		base, _ := j.HotEnd(p)
		_, err := j.Append(p, newBatch(p, max(base, s.first[p]), 1, 10))
		require.NoError(t, err)
	}
	commit(t, j)
}

// crashAt runs f on a file system whose operations fail from the n-th changing one on.
// It reports whether f came that far.
func crashAt(mem *vfs.Mem, n int64, f func(fs vfs.FS) error) (reached bool, err error) {
	var count atomic.Int64
	err = f(vfs.Inject(mem, func(op vfs.Op) error {
		if op.Kind.Mutates() && count.Add(1) > n || count.Load() > n {
			return errStop
		}
		return nil
	}))
	return count.Load() > n, err
}

func crashes(seed uint64) map[string][]vfs.CrashOption {
	return map[string][]vfs.CrashOption{
		"synced only":                {},
		fmt.Sprintf("torn %d", seed): {vfs.KeepUnsynced(seed)},
	}
}

func TestCrashAtEveryOperation(t *testing.T) {
	points := 0
	for n := int64(0); ; n++ {
		reachedAny := false
		for seed := range uint64(4) {
			for name, opts := range crashes(uint64(n)*10 + seed) {
				mem := vfs.NewMem()
				s := &story{m: model{}, first: map[id.Partition]id.Offset{}}
				reached, err := crashAt(mem, n, s.tell)
				if !reached {
					require.NoError(t, err)
					continue
				}
				reachedAny = true
				t.Run(fmt.Sprintf("operation %d, %s", n, name), func(t *testing.T) { s.check(t, mem.Crash(opts...)) })
				points++
			}
			if t.Failed() {
				return
			}
		}
		if !reachedAny {
			break
		}
	}
	t.Logf("%d crashes", points)
	require.Greater(t, points, 200)
}

// TestCrashDuringRecovery crashes, and crashes again at every operation of the recovery.
func TestCrashDuringRecovery(t *testing.T) {
	for _, at := range []int64{25, 33, 40, 47, 60} {
		for seed := range uint64(3) {
			for n := int64(0); ; n++ {
				mem := vfs.NewMem()
				s := &story{m: model{}, first: map[id.Partition]id.Offset{}}
				_, _ = crashAt(mem, at, s.tell)
				mem = mem.Crash(vfs.KeepUnsynced(seed))
				reached, _ := crashAt(mem, n, func(fs vfs.FS) error {
					cfg := testConfig(fs)
					cfg.SegmentBytes = 4 << 10
					j, _, err := Open(context.Background(), cfg)
					if err != nil {
						return err
					}
					return j.Close(context.Background())
				})
				if !reached {
					break
				}
				t.Run(fmt.Sprintf("crash at %d, then at %d, seed %d", at, n, seed), func(t *testing.T) {
					s.check(t, mem.Crash(vfs.KeepUnsynced(seed+100)))
				})
				if t.Failed() {
					return
				}
			}
		}
	}
}

func TestNoSpaceThenFreed(t *testing.T) {
	mem := vfs.NewMem()
	mem.SetCapacity(200 << 10)
	cfg := testConfig(mem)
	j, _ := openTest(t, cfg)
	m := model{}
	p := partition(0)
	var full error
	for range 2000 {
		v := newBatch(p, m.next(p), 1, 200)
		if _, full = j.Append(p, v); full != nil {
			break
		}
		m[p] = append(m[p], v)
		commit(t, j)
	}
	require.ErrorIs(t, full, ErrFull)
	requireModel(t, j, m, 1<<20)

	require.NoError(t, j.Roll(), "what is there can be finished and sealed")
	require.NoError(t, j.Drop(j.Segments()[0].ID))
	require.Eventually(t, func() bool {
		v := newBatch(p, m.next(p), 1, 200)
		_, err := j.Append(p, v)
		if err != nil {
			require.ErrorIs(t, err, ErrFull)
			return false
		}
		m[p] = append(m[p], v)
		return true
	}, maxBackoff*5, minBackoff)
	commit(t, j)
	start, ok := j.HotStart(p)
	require.True(t, ok)
	m[p] = m[p][start:]
	requireModel(t, j, m, 1<<20)
	closeTest(t, j)
	require.NoError(t, Verify(mem, testDir, func(f Finding) { t.Errorf("finding: %s", f) }))
}

func TestOpenOnAFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	j, _ := openTest(t, testConfig(mem))
	m := model{}
	fill(t, j, m, 50, 3, 1)
	closeTest(t, j)
	mem.SetCapacity(mem.Used())
	j, _ = openTest(t, testConfig(mem))
	requireModel(t, j, m, 1<<20)
	_, err := j.Append(partition(0), newBatch(partition(0), m.next(partition(0)), 1, 10))
	require.ErrorIs(t, err, ErrFull)
	closeTest(t, j)
}
