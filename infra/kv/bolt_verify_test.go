package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// sampleFile is a table with branches, values of several pages, and free pages.
func sampleFile(tb testing.TB) []byte {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "kv.db")
	s, err := OpenBolt(path, BoltOptions{NoSync: true})
	require.NoError(tb, err)
	for i := range 40 {
		w := Write{Key: Key{Part: "p", Sort: fmt.Sprintf("%04d", i)}, Value: make([]byte, i*200), Any: true}
		gone := Write{Key: Key{Part: "p", Sort: fmt.Sprintf("%04d", i/2)}, Delete: i%4 == 0, Any: true}
		for _, r := range s.Write(context.Background(), w, gone) {
			require.NoError(tb, r.Err)
		}
	}
	require.NoError(tb, s.Close())
	b, err := os.ReadFile(path)
	require.NoError(tb, err)
	return b
}

// FuzzVerify: no damage makes the verifier panic or fail other than by ErrCorrupt or ErrForeign.
func FuzzVerify(f *testing.F) {
	good := sampleFile(f)
	require.NoError(f, verifyFile(context.Background(), bytes.NewReader(good), int64(len(good))))
	for page := range len(good) / 4096 {
		for _, at := range []int{0, 8, 10, 12, 16, 20, 24, 28} {
			f.Add(uint32(page*4096+at), []byte{0xff, 0xff, 0xff, 0xff})
		}
	}
	f.Add(uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		bad := bytes.Clone(good)
		if int(at) < len(bad) {
			copy(bad[at:], patch)
		}
		err := verifyFile(context.Background(), bytes.NewReader(bad), int64(len(bad)))
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForeign) {
			t.Fatal(err)
		}
	})
}
