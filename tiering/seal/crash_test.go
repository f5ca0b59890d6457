package seal

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/vfs"
)

// crasher cuts the power before one operation, counted over the file system and the
// table. Nothing that is asked for after it happens.
type crasher struct {
	mem     *vfs.Mem
	options []vfs.CrashOption

	mu    sync.Mutex
	left  int // operations before the crash; below 0 there is none
	what  string
	after *vfs.Mem // what the crash left, nil before it
}

var errCrashed = errors.New("crashed")

// op counts an operation and fails once the power is cut.
func (c *crasher) op(what func() string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.after != nil {
		return errCrashed
	}
	if c.left < 0 {
		return nil
	}
	if c.left--; c.left >= 0 {
		return nil
	}
	c.what, c.after = what(), c.mem.Crash(c.options...)
	return errCrashed
}

func (c *crasher) fs() vfs.FS {
	return vfs.Inject(c.mem, func(op vfs.Op) error {
		if !op.Kind.Mutates() {
			return nil
		}
		return c.op(func() string { return fmt.Sprintf("%s %s", op.Kind, op.Name) })
	})
}

func (c *crasher) table(s kv.Store) kv.Store {
	return kv.Inject(s, func(op kv.Op) kv.Fault {
		if op.Kind == kv.OpWrite && c.op(func() string { return "table write " + op.Key.String() }) != nil {
			return kv.FaultFail
		}
		return kv.FaultNone
	})
}

func (c *crasher) arm(left int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = left
}

// TestCrashAtEveryOperation cuts the power before each write, sync, link, removal and
// table write of sealing and releasing, one after the other. Each time everything is
// opened again from what the crash left: nothing is lost, every offset is readable
// exactly once, and sealing goes on to the end.
func TestCrashAtEveryOperation(t *testing.T) {
	for name, options := range map[string]func(n int) []vfs.CrashOption{
		"what was not synced is lost":     func(int) []vfs.CrashOption { return nil },
		"what was not synced is in parts": func(n int) []vfs.CrashOption { return []vfs.CrashOption{vfs.KeepUnsynced(uint64(n))} },
	} {
		t.Run(name, func(t *testing.T) {
			seen, step := map[string]bool{}, 1
			if testing.Short() {
				step = 5
			}
			for n := 0; ; n += step {
				what, crashed := crashAt(t, n, options(n))
				if !crashed {
					require.Greater(t, n, 40)
					break
				}
				var kind string
				_, err := fmt.Sscan(what, &kind)
				require.NoError(t, err)
				seen[kind] = true
			}
			for _, kind := range []string{"create", "write", "sync", "link", "remove", "syncdir", "table"} {
				require.True(t, seen[kind] || step > 1, "no crash at a %s", kind)
			}
		})
	}
}

func crashAt(t *testing.T, n int, options []vfs.CrashOption) (what string, crashed bool) {
	t.Helper()
	mem := kv.NewMem()
	c := &crasher{mem: vfs.NewMem(), options: options, left: -1}
	tiny := func(cfg *Config) { cfg.DiskBudget = 100 << 10; cfg.MaxPackBytes = 100 << 10 }
	w := newWorld(t, c.fs(), c.table(mem), tiny)
	w.fill(4, 60)
	require.NoError(t, w.sealer.SealAll(ctx))
	w.append(partition(1), w.build(partition(1), 9, 2, 100))
	w.fill(6, 100)
	c.arm(n)
	err := w.sealer.SealAll(ctx)
	c.arm(-1)
	w.close()
	left := c.after
	if left == nil {
		require.NoError(t, err)
		left = c.mem
	}

	again := &world{
		t: t, fs: left, table: mem, now: w.now, rng: w.rng,
		want: maps.Clone(w.want), next: maps.Clone(w.next), seqs: w.seqs,
	}
	again.reopen(tiny)
	again.check()
	again.fill(6, 20)
	again.check()
	require.NoError(t, again.sealer.SealAll(ctx), "after a crash at %s", c.what)
	again.sealedAll()
	again.check()
	again.verify()
	require.Equal(t, id.Producer(9), again.producers(partition(1))[0].Producer)
	again.close()
	return c.what, c.after != nil
}

// TestCrashAtEveryOperationOfAnAdoption does the same with a leader that adopts: the next
// one finds the WAL objects as they were and adopts the rest.
func TestCrashAtEveryOperationOfAnAdoption(t *testing.T) {
	seen, ends := map[string]bool{}, map[id.Offset]bool{}
	for n := 0; ; n++ {
		what, end, crashed := crashAdoptionAt(t, n)
		if !crashed {
			require.Greater(t, n, 30)
			break
		}
		var kind string
		_, err := fmt.Sscan(what, &kind)
		require.NoError(t, err)
		seen[kind], ends[end] = true, true
	}
	for _, kind := range []string{"create", "write", "sync", "link", "syncdir", "table"} {
		require.True(t, seen[kind], "no crash at a %s", kind)
	}
	require.Greater(t, len(ends), 2, "between packs as well")
}

func crashAdoptionAt(t *testing.T, n int) (what string, end id.Offset, crashed bool) {
	t.Helper()
	mem := kv.NewMem()
	c := &crasher{mem: vfs.NewMem(), left: -1}
	tiny := func(cfg *Config) { cfg.DiskBudget = 1; cfg.MaxPackBytes = 60 << 10 }
	w := newWorld(t, c.fs(), c.table(mem), tiny)
	w.fill(4, 60)
	require.NoError(t, w.sealer.SealAll(ctx))
	w.overlap()
	for range 6 {
		w.fillWAL(6, 40)
	}
	c.arm(n)
	_, err := w.sealer.Adopt(ctx, w.adoptions())
	c.arm(-1)
	w.close()
	left := c.after
	if left == nil {
		require.NoError(t, err)
		left = c.mem
	}

	again := &world{
		t: t, fs: left, table: mem, now: w.now, rng: w.rng,
		want: maps.Clone(w.want), next: maps.Clone(w.next), seqs: w.seqs, wal: w.wal, walObjects: w.walObjects,
	}
	again.reopen(tiny)
	_, end = again.checkSealed(partition(1))
	for p := range again.want {
		again.checkSealed(p)
	}
	adopted, err := again.sealer.Adopt(ctx, again.adoptions())
	require.NoError(t, err, "after a crash at %s", c.what)
	again.allAdopted(adopted)
	again.verify()
	again.close()
	return c.what, end, c.after != nil
}
