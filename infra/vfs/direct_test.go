package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/vfs"
)

// TestDirectIsAFileLikeAnother writes and reads at random places of a file with
// Direct, in sizes on both sides of where it passes by the page cache, and holds
// it to a slice and to what a second, plain descriptor sees.
func TestDirectIsAFileLikeAnother(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := vfs.OS().OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|vfs.Direct, 0o644)
	require.NoError(t, err)
	defer f.Close()
	plain, err := vfs.OS().Open(name)
	require.NoError(t, err)
	defer plain.Close()

	const size = 4 << 20
	rng := rand.New(rand.NewPCG(1, 2))
	var model []byte
	scratch := make([]byte, size)
	for range 300 {
		off, n := rng.IntN(size), 1+rng.IntN(600<<10)
		if rng.IntN(3) == 0 {
			off &^= 4095
		}
		n = min(n, size-off)
		p := scratch[rng.IntN(size-n+1)&^(rng.IntN(2)*4095):][:n] // now and then aligned
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		wrote, err := f.WriteAt(p, int64(off))
		require.NoError(t, err)
		require.Equal(t, n, wrote)
		if len(model) < off+n {
			model = append(model, make([]byte, off+n-len(model))...)
		}
		copy(model[off:], p)

		off, n = rng.IntN(len(model)), 1+rng.IntN(600<<10)
		if rng.IntN(3) == 0 {
			off &^= 4095
		}
		for _, file := range []vfs.File{f, plain} {
			got := make([]byte, n)
			read, err := file.ReadAt(got, int64(off))
			want := model[off:min(off+n, len(model))]
			require.Equal(t, len(want), read)
			require.True(t, bytes.Equal(want, got[:read]), "at %d", off)
			require.True(t, err == nil && read == n || errors.Is(err, io.EOF) && read < n || errors.Is(err, io.EOF) && off+n == len(model), "%d of %d: %v", read, n, err)
		}
	}
	require.NoError(t, f.Sync())
}
