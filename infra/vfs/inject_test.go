package vfs_test

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/vfs"
)

func TestInjectSeesAndFailsEveryOperation(t *testing.T) {
	broken := errors.New("broken")
	var fail error
	var last vfs.Op
	m := newMem(t)
	write(t, m, "/dir/file", "content")
	fsys := vfs.Inject(m, func(op vfs.Op) error {
		last = op
		return fail
	})
	f := openRW(t, fsys, "/dir/file")
	steps := []struct {
		op vfs.Op
		do func() error
	}{
		{vfs.Op{Kind: vfs.OpOpen, Name: "/dir/file"}, func() error { _, err := fsys.Open("/dir/file"); return err }},
		{vfs.Op{Kind: vfs.OpOpen, Name: "/dir/file"}, func() error { _, err := fsys.OpenFile("/dir/file", os.O_RDWR, 0); return err }},
		{vfs.Op{Kind: vfs.OpCreate, Name: "/dir/x"}, func() error { _, err := fsys.OpenFile("/dir/x", os.O_RDWR|os.O_CREATE, 0o644); return err }},
		{vfs.Op{Kind: vfs.OpRename, Name: "/dir/x", Target: "/dir/y"}, func() error { return fsys.Rename("/dir/x", "/dir/y") }},
		{vfs.Op{Kind: vfs.OpLink, Name: "/dir/y", Target: "/dir/z"}, func() error { return fsys.Link("/dir/y", "/dir/z") }},
		{vfs.Op{Kind: vfs.OpRemove, Name: "/dir/y"}, func() error { return fsys.Remove("/dir/y") }},
		{vfs.Op{Kind: vfs.OpRemoveAll, Name: "/dir/z"}, func() error { return fsys.RemoveAll("/dir/z") }},
		{vfs.Op{Kind: vfs.OpMkdirAll, Name: "/dir/sub"}, func() error { return fsys.MkdirAll("/dir/sub", 0o755) }},
		{vfs.Op{Kind: vfs.OpReadDir, Name: "/dir"}, func() error { _, err := fsys.ReadDir("/dir"); return err }},
		{vfs.Op{Kind: vfs.OpStat, Name: "/dir"}, func() error { _, err := fsys.Stat("/dir"); return err }},
		{vfs.Op{Kind: vfs.OpSyncDir, Name: "/dir"}, func() error { return fsys.SyncDir("/dir") }},
		{vfs.Op{Kind: vfs.OpLock, Name: "/dir/lock"}, func() error { _, err := fsys.Lock("/dir/lock"); return err }},
		{vfs.Op{Kind: vfs.OpRead, Name: "/dir/file", Offset: 1, Length: 2}, func() error { _, err := f.ReadAt(make([]byte, 2), 1); return err }},
		{vfs.Op{Kind: vfs.OpWrite, Name: "/dir/file", Offset: 1, Length: 3}, func() error { _, err := f.WriteAt([]byte("abc"), 1); return err }},
		{vfs.Op{Kind: vfs.OpWrite, Name: "/dir/file", Offset: 9, Length: 3}, func() error { _, err := f.WritevAt([][]byte{{1}, {2, 3}}, 9); return err }},
		{vfs.Op{Kind: vfs.OpAllocate, Name: "/dir/file", Length: 99}, func() error { return f.Allocate(99) }},
		{vfs.Op{Kind: vfs.OpTruncate, Name: "/dir/file", Length: 5}, func() error { return f.Truncate(5) }},
		{vfs.Op{Kind: vfs.OpSize, Name: "/dir/file"}, func() error { _, err := f.Size(); return err }},
		{vfs.Op{Kind: vfs.OpSync, Name: "/dir/file"}, f.Sync},
	}
	for _, step := range steps {
		state := func() []any {
			return []any{names(t, m, "/dir"), read(t, m, "/dir/file"), m.Used()}
		}
		before := state()
		fail = broken
		require.Equal(t, broken, step.do(), "%v", step.op)
		require.Equal(t, step.op, last)
		require.Equal(t, before, state(), "%v was performed", step.op)
		fail = nil
		require.NoError(t, step.do(), "%v", step.op)
		require.Equal(t, step.op, last)
		require.NotEqual(t, "unknown", step.op.Kind.String())
	}
	require.True(t, vfs.OpSync.Mutates())
	require.False(t, vfs.OpRead.Mutates())
	require.Equal(t, "unknown", vfs.Kind(99).String())

	fail = broken
	require.Equal(t, broken, f.Close())
	fail = nil
	require.ErrorIs(t, f.Close(), os.ErrClosed, "a failed Close closes")
}

// TestInjectAsCrashPoint shows the use that the crash tests of other packages make of it.
func TestInjectAsCrashPoint(t *testing.T) {
	save := func(fsys vfs.FS) error {
		f, err := fsys.OpenFile("/dir/tmp", os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt([]byte("new"), 0); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := fsys.Rename("/dir/tmp", "/dir/file"); err != nil {
			return err
		}
		return fsys.SyncDir("/dir")
	}
	for point := 1; ; point++ {
		m := newMem(t)
		write(t, m, "/dir/file", "old")
		require.NoError(t, m.SyncDir("/dir"))
		var after *vfs.Mem
		ops := 0
		err := save(vfs.Inject(m, func(vfs.Op) error {
			if ops++; ops == point {
				after = m.Crash()
			}
			return nil
		}))
		if after == nil {
			require.NoError(t, err)
			require.Equal(t, "new", read(t, m.Crash(), "/dir/file"))
			require.Equal(t, 6, point)
			return
		}
		require.ErrorIs(t, err, vfs.ErrCrashed)
		require.Equal(t, "old", read(t, after, "/dir/file"))
	}
}
