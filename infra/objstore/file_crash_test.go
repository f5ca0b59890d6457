package objstore_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
)

// content takes several writes, and ends within a sector.
var content = strings.Repeat("0123456789", 120_001)

// crashAt returns a file system that crashes before its operation number point,
// and the file system that it leaves, nil as long as it has not crashed.
func crashAt(m *vfs.Mem, point int) (vfs.FS, func() *vfs.Mem) {
	var after *vfs.Mem
	ops := 0
	return vfs.Inject(m, func(vfs.Op) error {
		if ops++; ops == point {
			after = m.Crash()
		}
		return nil
	}), func() *vfs.Mem { return after }
}

// outcomes returns what a crash of m may leave: only what was synced, or more.
func outcomes(m *vfs.Mem) []*vfs.Mem {
	list := []*vfs.Mem{m.Crash()}
	for seed := range uint64(8) {
		list = append(list, m.Crash(vfs.KeepUnsynced(seed)))
	}
	return list
}

// atEveryCrash runs do on a fresh file system, prepared by setup, with a crash
// before each of its operations in turn and at last one behind them, and calls
// check with each outcome. It returns how many operations do takes.
func atEveryCrash(t *testing.T, setup func(vfs.FS), do func(vfs.FS) error, check func(after *vfs.Mem, err error)) int {
	t.Helper()
	for point := 1; ; point++ {
		m := vfs.NewMem()
		setup(m)
		fsys, crashed := crashAt(m, point)
		err := do(fsys)
		done := crashed() == nil
		if done {
			require.NoError(t, err)
		}
		for _, after := range outcomes(m) {
			check(after, err)
		}
		if done {
			return point - 1
		}
	}
}

// requireClean checks that no file is below the store but its lock and so many objects.
func requireClean(t *testing.T, fsys vfs.FS, dir string, objects int) {
	t.Helper()
	files := 0
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := fsys.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			if e.IsDir() {
				walk(dir + "/" + e.Name())
			} else if e.Name() != "%lock" {
				files++
			}
		}
	}
	walk(dir)
	require.Equal(t, objects, files)
}

// requireAbsentOrWhole returns whether the object is there.
func requireAbsentOrWhole(t *testing.T, s objstore.Store, key string) bool {
	t.Helper()
	info, err := s.Stat(t.Context(), key)
	if errors.Is(err, objstore.ErrNotFound) {
		return false
	}
	require.NoError(t, err)
	require.Equal(t, int64(len(content)), info.Size)
	p := make([]byte, len(content)+1)
	n, err := s.ReadAt(t.Context(), key, p, 0)
	require.Equal(t, io.EOF, err)
	require.True(t, content == string(p[:n]), "the object is damaged")
	return true
}

func TestCrashOfPut(t *testing.T) {
	for name, setup := range map[string]func(vfs.FS){
		"new store": func(vfs.FS) {},
		"existing store": func(fsys vfs.FS) {
			s := openFile(t, fsys, "/data/objects")
			require.NoError(t, s.Put(t.Context(), "packs/0", strings.NewReader("other")))
			require.NoError(t, s.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			kept, lost := 0, 0
			ops := atEveryCrash(t, setup, func(fsys vfs.FS) error {
				s, err := objstore.OpenFile(fsys, "/data/objects")
				if err != nil {
					return err
				}
				return s.Put(t.Context(), "packs/00ff/1.pack", strings.NewReader(content))
			}, func(after *vfs.Mem, err error) {
				s := openFile(t, after, "/data/objects")
				present := requireAbsentOrWhole(t, s, "packs/00ff/1.pack")
				if err == nil {
					require.True(t, present, "Put had returned")
				}
				objects := 0
				for _, err := range s.List(t.Context(), "", "") {
					require.NoError(t, err)
					objects++
				}
				requireClean(t, after, "/data/objects", objects)
				if present {
					kept++
					return
				}
				lost++
				require.NoError(t, s.Put(t.Context(), "packs/00ff/1.pack", strings.NewReader(content)))
				require.True(t, requireAbsentOrWhole(t, s, "packs/00ff/1.pack"))
			})
			require.Greater(t, ops, 15)
			require.Positive(t, kept)
			require.Positive(t, lost)
		})
	}
}

// TestCrashAfterErrExists crashes while one Put waits to sync its directory and
// another was told that the object exists: then it must stay.
func TestCrashAfterErrExists(t *testing.T) {
	m := vfs.NewMem()
	var held objstore.Store
	linked := false
	broken := errors.New("input/output error")
	held = openFile(t, vfs.Inject(m, func(op vfs.Op) error {
		if op.Kind == vfs.OpLink {
			linked = true
		}
		if linked && op.Kind == vfs.OpSyncDir {
			return broken
		}
		return nil
	}), "/objects")
	require.ErrorIs(t, held.Put(t.Context(), "packs/1", strings.NewReader(content)), broken)
	other := openFile(t, m, "/objects")
	require.ErrorIs(t, other.Put(t.Context(), "packs/1", strings.NewReader(content)), objstore.ErrExists)
	require.True(t, requireAbsentOrWhole(t, openFile(t, m.Crash(), "/objects"), "packs/1"))
}

// TestDirectoryOfAnotherPut has two Puts share a new directory; the second must
// not take it for durable because it is there.
func TestDirectoryOfAnotherPut(t *testing.T) {
	m := vfs.NewMem()
	broken := errors.New("input/output error")
	fail := false
	s := openFile(t, vfs.Inject(m, func(op vfs.Op) error {
		if fail && op.Kind == vfs.OpSyncDir {
			return broken
		}
		return nil
	}), "/objects")
	fail = true
	require.ErrorIs(t, s.Put(t.Context(), "new/dir/1", strings.NewReader("x")), broken)
	fail = false
	require.NoError(t, s.Put(t.Context(), "new/dir/2", strings.NewReader(content)))
	require.True(t, requireAbsentOrWhole(t, openFile(t, m.Crash(), "/objects"), "new/dir/2"))
}

func TestFailureAtEveryOperationOfPut(t *testing.T) {
	broken := errors.New("input/output error")
	for point := 1; ; point++ {
		m := vfs.NewMem()
		ops, fail := 0, false
		s := openFile(t, vfs.Inject(m, func(op vfs.Op) error {
			if !fail {
				return nil
			}
			if ops++; ops == point {
				return broken
			}
			return nil
		}), "/objects")
		fail = true
		err := s.Put(t.Context(), "packs/1", strings.NewReader(content))
		fail = false
		if ops < point {
			require.NoError(t, err)
			require.Greater(t, point, 8)
			return
		}
		require.ErrorIs(t, err, broken, "operation %d", point)
		if !requireAbsentOrWhole(t, s, "packs/1") {
			require.NoError(t, s.Put(t.Context(), "packs/1", strings.NewReader(content)))
		}
		require.NoError(t, s.Close())
		openFile(t, m, "/objects")
		requireClean(t, m, "/objects", 1)
	}
}

func TestCrashOfDelete(t *testing.T) {
	ops := atEveryCrash(t, func(fsys vfs.FS) {
		s := openFile(t, fsys, "/objects")
		require.NoError(t, s.Put(t.Context(), "packs/1", strings.NewReader(content)))
		require.NoError(t, s.Put(t.Context(), "packs/2", strings.NewReader(content)))
		require.NoError(t, s.Close())
	}, func(fsys vfs.FS) error {
		s, err := objstore.OpenFile(fsys, "/objects")
		if err != nil {
			return err
		}
		return s.Delete(t.Context(), "packs/1")
	}, func(after *vfs.Mem, err error) {
		s := openFile(t, after, "/objects")
		present := requireAbsentOrWhole(t, s, "packs/1")
		require.False(t, present && err == nil, "Delete had returned")
		require.True(t, requireAbsentOrWhole(t, s, "packs/2"))
	})
	require.Greater(t, ops, 4)
}

func TestFullDisk(t *testing.T) {
	m := vfs.NewMem()
	s := openFile(t, m, "/objects")
	m.SetCapacity(int64(len(content)) - 1)
	err := s.Put(t.Context(), "packs/1", strings.NewReader(content))
	require.ErrorContains(t, err, `put object "packs/1"`)
	require.ErrorContains(t, err, "no space left on device")
	require.Zero(t, m.Used(), "what was written is gone")
	require.False(t, requireAbsentOrWhole(t, s, "packs/1"))
	m.SetCapacity(0)
	require.NoError(t, s.Put(t.Context(), "packs/1", strings.NewReader(content)))
}
