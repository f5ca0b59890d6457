package compact_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/compact"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is put is found, as in a plain map, however often keys are spilled.
func TestKeyMapIsAMap(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		cfg := compact.MapConfig{Budget: int64(rapid.IntRange(72*24, 20_000).Draw(t, "budget")), Dir: dir}
		keys := rapid.IntRange(1, 3000).Draw(t, "keys")
		m, err := compact.NewKeyMap(cfg, int64(rapid.SampledFrom([]int{0, keys}).Draw(t, "hint")))
		require.NoError(t, err)
		defer func() { require.NoError(t, m.Close()) }()
		plain := map[string]id.Offset{}
		offset := id.Offset(0)
		for range rapid.IntRange(0, 6000).Draw(t, "puts") {
			key := strconv.Itoa(int(uint32(offset*2654435761) % uint32(keys)))
			ok, err := m.Put([]byte(key), offset)
			require.NoError(t, err)
			require.True(t, ok)
			plain[key] = offset
			offset += 1 + offset%3
		}
		require.NoError(t, m.Seal())
		for i := range keys + 10 {
			got, ok, err := m.Get([]byte(strconv.Itoa(i)))
			require.NoError(t, err)
			want, has := plain[strconv.Itoa(i)]
			require.Equal(t, has, ok, i)
			if has {
				require.Equal(t, want, got)
			}
		}
		if s := m.Spilled(); s > 0 {
			require.EqualValues(t, 24*len(plain), s, "each key is in the merged file once")
		} else {
			require.LessOrEqual(t, int64(24*len(plain)), cfg.Budget)
		}
	})
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "files that were not removed")
}

func TestKeyMapBecomesFull(t *testing.T) {
	for name, cfg := range map[string]compact.MapConfig{
		"without a directory": {Budget: 24 * 1000},
		"bounded spill":       {Budget: 24 * 200, Dir: t.TempDir(), MaxSpill: 24 * 900},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := compact.NewKeyMap(cfg, 0)
			require.NoError(t, err)
			defer func() { require.NoError(t, m.Close()) }()
			n := 0
			for ; n < 2000; n++ {
				ok, err := m.Put(fmt.Append(nil, n), id.Offset(n))
				require.NoError(t, err)
				if !ok {
					break
				}
			}
			require.Equal(t, 900, n)
			if cfg.Dir == "" {
				ok, err := m.Put([]byte("7"), 5000)
				require.NoError(t, err)
				require.True(t, ok, "a key that is there may be put again")
			}
			require.NoError(t, m.Seal())
			require.LessOrEqual(t, m.Spilled(), int64(24*900))
			for i := range 1000 {
				_, ok, err := m.Get(fmt.Append(nil, i))
				require.NoError(t, err)
				require.Equal(t, i < n, ok)
			}
		})
	}
}

// A full disk is an error at Put or Seal, not a wrong answer later.
func TestKeyMapOnAFullDisk(t *testing.T) {
	for writes := 1; ; writes++ {
		left := writes
		fs := vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
			if op.Kind != vfs.OpWrite {
				return nil
			}
			if left--; left < 0 {
				return syscall.ENOSPC
			}
			return nil
		})
		m, err := compact.NewKeyMap(compact.MapConfig{Budget: 24 * 100, Dir: ".", FS: fs}, 0)
		require.NoError(t, err)
		for i := 0; err == nil && i < 500; i++ {
			_, err = m.Put(bytes.Repeat([]byte{byte(i)}, i), id.Offset(i))
		}
		if err == nil {
			err = m.Seal()
		}
		require.NoError(t, m.Close())
		if err == nil {
			require.Greater(t, writes, 4)
			return
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.False(t, errors.Is(err, os.ErrNotExist))
	}
}

func TestKeyMapNeedsMemory(t *testing.T) {
	_, err := compact.NewKeyMap(compact.MapConfig{Budget: 100}, 0)
	require.ErrorContains(t, err, "log.cleaner.dedupe.buffer.size")
}

// TestKeyMapFilled: a look-up ends also in a map of which all may be used.
func TestKeyMapFilled(t *testing.T) {
	const slots = 64
	m, err := compact.NewKeyMap(compact.MapConfig{Budget: slots * 24, Load: 1}, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	put := 0
	for ok := true; ok; put++ {
		ok, err = m.Put([]byte{byte(put)}, id.Offset(put))
		require.NoError(t, err)
	}
	require.Equal(t, slots, put, "the last of them did not fit")
	_, ok, err := m.Get([]byte("another"))
	require.NoError(t, err)
	require.False(t, ok)
}
