package objstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/objstore/objstoretest"
	"github.com/forebaylog/forebay/infra/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openFile(t *testing.T, fsys vfs.FS, dir string) objstore.Store {
	t.Helper()
	s, err := objstore.OpenFile(fsys, dir)
	require.NoError(t, err)
	return s
}

func TestDrivers(t *testing.T) {
	drivers := map[string]func(t *testing.T) objstore.Store{
		"mem":            func(*testing.T) objstore.Store { return objstore.NewMem() },
		"file on os":     func(t *testing.T) objstore.Store { return openFile(t, vfs.OS(), t.TempDir()+"/objects") },
		"file on mem":    func(t *testing.T) objstore.Store { return openFile(t, vfs.NewMem(), "data/objects") },
		"file shared":    openShared,
		"mem, injected":  func(*testing.T) objstore.Store { return objstore.Inject(objstore.NewMem(), pass) },
		"file, injected": func(t *testing.T) objstore.Store { return objstore.Inject(openFile(t, vfs.NewMem(), "/"), pass) },
	}
	// Prefixes of keys that the suite uses: some of its objects are here, some there.
	for _, prefix := range []string{"packs/", "a", "dir-", "never/"} {
		drivers["routed "+prefix] = func(*testing.T) objstore.Store {
			return objstore.Route(objstore.NewMem(), prefix, objstore.NewMem())
		}
	}
	for name, open := range drivers {
		t.Run(name, func(t *testing.T) { objstoretest.Run(t, open) })
	}
}

func pass(objstore.Op) error { return nil }

// openShared opens a directory as a second process beside a first one does.
func openShared(t *testing.T) objstore.Store {
	m := vfs.NewMem()
	first := openFile(t, m, "/objects")
	t.Cleanup(func() { require.NoError(t, first.Close()) })
	return openFile(t, m, "/objects")
}
