package objstore_test

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
)

// TestReadOnly: what another process has open can be read and is not changed.
func TestReadOnly(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	writer := openFile(t, vfs.OS(), dir+"/objects")
	require.NoError(t, writer.Put(ctx, "a/b", strings.NewReader("text")))
	count := func() (n int) {
		require.NoError(t, filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { n++; return nil }))
		return n
	}
	before := count()
	s, err := objstore.OpenURL(ctx, "file://"+dir+"/objects", objstore.URLOptions{ReadOnly: true})
	require.NoError(t, err)
	require.Equal(t, []string{"a/b"}, keys(t, s, "", ""))
	p := make([]byte, 4)
	_, err = s.ReadAt(ctx, "a/b", p, 0)
	require.NoError(t, err)
	require.Equal(t, "text", string(p))
	info, err := s.Stat(ctx, "a/b")
	require.NoError(t, err)
	require.EqualValues(t, 4, info.Size)
	require.ErrorIs(t, s.Put(ctx, "c", strings.NewReader("")), fs.ErrPermission)
	require.ErrorIs(t, s.Delete(ctx, "a/b"), fs.ErrPermission)
	require.Equal(t, before, count())
	require.NoError(t, s.Close())
	require.NoError(t, writer.Put(ctx, "c", strings.NewReader("")))
	require.NoError(t, writer.Close())

	_, err = objstore.OpenFileReadOnly(vfs.OS(), dir+"/none")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoDirExists(t, dir+"/none")
	s, err = objstore.OpenURL(ctx, "mem://", objstore.URLOptions{ReadOnly: true})
	require.NoError(t, err)
	require.ErrorIs(t, s.Put(ctx, "c", strings.NewReader("")), fs.ErrPermission)
	require.NoError(t, s.Close())
}
