package vfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestWriteVecGoesOnAfterShortWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bufs := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 20), 0, 30).Draw(t, "bufs")
		want := bytes.Join(bufs, nil)
		var got []byte
		write := func(p []byte, off int64) (int, error) {
			require.Equal(t, int64(len(got)), off-7)
			got = append(got, p...)
			return len(p), nil
		}
		short := func(bufs [][]byte, off int64) (int64, error) {
			require.LessOrEqual(t, len(bufs), maxVec)
			all := bytes.Join(bufs, nil)
			if len(all) == 0 {
				return 0, nil
			}
			n, err := write(all[:rapid.IntRange(1, len(all)).Draw(t, "written")], off)
			return int64(n), err
		}
		n, err := writeVec(bufs, 7, short, write)
		require.NoError(t, err)
		require.Equal(t, int64(len(want)), n)
		require.True(t, bytes.Equal(want, got))
	})
}

func TestWriteVecReportsWhatItWrote(t *testing.T) {
	broken := errors.New("broken")
	bufs := [][]byte{[]byte("abc"), []byte("def")}
	short := func([][]byte, int64) (int64, error) { return 4, nil }
	n, err := writeVec(bufs, 0, short, func([]byte, int64) (int, error) { return 1, broken })
	require.ErrorIs(t, err, broken)
	require.Equal(t, int64(5), n)
	n, err = writeVec(bufs, 0, func([][]byte, int64) (int64, error) { return 2, broken }, nil)
	require.ErrorIs(t, err, broken)
	require.Equal(t, int64(2), n)
}

func TestExtendIsAllocateWithoutFallocate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	opened, err := OS().OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	require.NoError(t, err)
	f, ok := opened.(*osFile)
	require.True(t, ok)
	_, err = f.WriteAt([]byte("content"), 0)
	require.NoError(t, err)
	require.NoError(t, f.extend(7, 200_000))
	require.NoError(t, f.extend(200_000, 10))
	require.NoError(t, f.Close())
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "content"+strings.Repeat("\x00", 200_000-7), string(got))
}
