package kv_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/forebaylog/forebay/infra/kv"
)

var ctx = context.Background()

func boltPath(t *testing.T) string { return filepath.Join(t.TempDir(), "kv.db") }

func fill(t *testing.T, s kv.Store, n int) {
	t.Helper()
	writes := make([]kv.Write, n)
	for i := range writes {
		writes[i] = kv.Write{Key: itemKey(i), Value: []byte(fmt.Sprintf("value %d", i))}
	}
	for _, r := range s.Write(ctx, writes...) {
		require.NoError(t, r.Err)
	}
}

func itemKey(i int) kv.Key {
	return kv.Key{Part: fmt.Sprintf("part %d", i%7), Sort: fmt.Sprintf("%06d", i)}
}

func TestBoltLocked(t *testing.T) {
	path := boltPath(t)
	s := openBolt(t, path, kv.BoltOptions{})
	_, err := kv.OpenBolt(path, kv.BoltOptions{})
	require.ErrorIs(t, err, kv.ErrLocked)
	require.ErrorContains(t, err, path)
	require.ErrorContains(t, err, "stop the other Forebay")
	require.NoError(t, s.Close())
	require.NoError(t, openBolt(t, path, kv.BoltOptions{}).Close(), "the lock ends with Close")
}

func TestBoltForeign(t *testing.T) {
	for name, content := range map[string]string{
		"text":        "just some notes\n",
		"long text":   strings.Repeat("all work and no play\n", 4000),
		"zero bytes":  strings.Repeat("\x00", 64<<10),
		"single byte": "x",
	} {
		t.Run(name, func(t *testing.T) {
			path := boltPath(t)
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			_, err := kv.OpenBolt(path, kv.BoltOptions{})
			require.ErrorIs(t, err, kv.ErrForeign)
			require.ErrorContains(t, err, path)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, content, string(after), "a foreign file is left alone")
		})
	}
	t.Run("directory", func(t *testing.T) {
		_, err := kv.OpenBolt(t.TempDir(), kv.BoltOptions{})
		require.ErrorIs(t, err, kv.ErrForeign)
	})
	t.Run("no directory", func(t *testing.T) {
		_, err := kv.OpenBolt(filepath.Join(t.TempDir(), "none", "kv.db"), kv.BoltOptions{})
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestBoltOfAnotherProgram(t *testing.T) {
	for name, layOut := range map[string]func(tx *bolt.Tx) error{
		"other buckets": func(tx *bolt.Tx) error {
			_, err := tx.CreateBucket([]byte("theirs"))
			return err
		},
		"newer format": func(tx *bolt.Tx) error {
			b, err := tx.CreateBucket([]byte("forebay"))
			return errors.Join(err, b.Put([]byte("format"), []byte("kv 99")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := boltPath(t)
			db, err := bolt.Open(path, 0o600, nil)
			require.NoError(t, err)
			require.NoError(t, db.Update(layOut))
			require.NoError(t, db.Close())
			_, err = kv.OpenBolt(path, kv.BoltOptions{})
			require.ErrorIs(t, err, kv.ErrForeign)
		})
	}
}

func TestBoltReadOnly(t *testing.T) {
	path := boltPath(t)
	_, err := kv.OpenBolt(path, kv.BoltOptions{ReadOnly: true})
	require.ErrorIs(t, err, fs.ErrNotExist)

	s := openBolt(t, path, kv.BoltOptions{})
	fill(t, s, 10)
	require.NoError(t, s.Close())
	s = openBolt(t, path, kv.BoltOptions{ReadOnly: true})
	item, err := s.Get(ctx, itemKey(3))
	require.NoError(t, err)
	require.Equal(t, "value 3", string(item.Value))
	_, err = kv.PutIfAbsent(ctx, s, kv.Key{Part: "p", Sort: "s"}, nil)
	require.ErrorContains(t, err, "read-only")
	require.NotErrorIs(t, err, kv.ErrUnknown)
	require.NoError(t, s.Verify(ctx))
	require.NoError(t, s.Close())
}

// TestBoltFlippedBits flips a bit in every 32 bytes of a table. Each read then
// returns what was written or an error, and Verify finds the flip or nothing is lost by it.
func TestBoltFlippedBits(t *testing.T) {
	const items = 60
	path := boltPath(t)
	s := openBolt(t, path, kv.BoltOptions{NoSync: true})
	fill(t, s, items)
	require.NoError(t, s.Verify(ctx))
	require.NoError(t, s.Close())
	good, err := os.ReadFile(path)
	require.NoError(t, err)

	refused, found := 0, 0
	for at := 0; at < len(good); at += 32 {
		bad := append([]byte{}, good...)
		bad[at+at/32%32] ^= 1 << (at / 32 % 8)
		damaged := boltPath(t)
		require.NoError(t, os.WriteFile(damaged, bad, 0o600))
		s, err := tryBolt(damaged)
		if err != nil {
			require.True(t, errors.Is(err, kv.ErrCorrupt) || errors.Is(err, kv.ErrForeign), "byte %d: %v", at, err)
			refused++
			continue
		}
		err = s.Verify(ctx)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt, "byte %d", at)
			found++
		}
		for i := range items {
			item, getErr := s.Get(ctx, itemKey(i))
			if getErr == nil {
				require.Equal(t, fmt.Sprintf("value %d", i), string(item.Value), "byte %d", at)
			} else {
				require.Error(t, err, "byte %d: item %d is lost and Verify did not see it: %v", at, i, getErr)
			}
		}
		require.NoError(t, s.Close())
	}
	require.NotZero(t, refused)
	require.NotZero(t, found)
}

func tryBolt(path string) (*kv.Bolt, error) {
	s, err := kv.OpenBolt(path, kv.BoltOptions{NoSync: true})
	b, _ := s.(*kv.Bolt) // nil with an error
	return b, err
}

func TestBoltCut(t *testing.T) {
	path := boltPath(t)
	s := openBolt(t, path, kv.BoltOptions{NoSync: true})
	fill(t, s, 2000)
	require.NoError(t, s.Close())
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, size := range []int{1, 79, 80, 4096, 4097, 5000, 8192, 16 << 10, 40 << 10} {
		require.NoError(t, os.WriteFile(path, good[:size], 0o600))
		_, err := kv.OpenBolt(path, kv.BoltOptions{})
		require.True(t, errors.Is(err, kv.ErrCorrupt) || errors.Is(err, kv.ErrForeign), "%d bytes: %v", size, err)
	}
}

// TestBoltDurable: what Write acknowledged is in a copy of the file taken while
// the table is open, as a crash would leave it.
func TestBoltDurable(t *testing.T) {
	path := boltPath(t)
	s := openBolt(t, path, kv.BoltOptions{})
	for i := range 20 {
		ver, err := kv.PutIfAbsent(ctx, s, itemKey(i), []byte("x"))
		require.NoError(t, err)
		image, err := os.ReadFile(path)
		require.NoError(t, err)
		crashed := boltPath(t)
		require.NoError(t, os.WriteFile(crashed, image, 0o600))
		after := openBolt(t, crashed, kv.BoltOptions{})
		item, err := after.Get(ctx, itemKey(i))
		require.NoError(t, err)
		require.Equal(t, ver, item.Version)
		require.NoError(t, after.Close())
	}
	require.NoError(t, s.Close())
}

// TestBoltCloseWhileWriting: each write either succeeded and is there, or failed
// with ErrClosed and is not.
func TestBoltCloseWhileWriting(t *testing.T) {
	path := boltPath(t)
	s := openBolt(t, path, kv.BoltOptions{NoSync: true})
	const writers = 8
	written := make([]int, writers)
	errs := make([]error, writers)
	under := make(chan struct{}, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := kv.Key{Part: fmt.Sprint(w), Sort: fmt.Sprintf("%06d", i)}
				if _, errs[w] = kv.PutIfAbsent(ctx, s, key, nil); errs[w] != nil {
					return
				}
				if written[w]++; i == 5 {
					under <- struct{}{}
				}
			}
		})
	}
	for range writers {
		<-under
	}
	require.NoError(t, s.Close())
	wg.Wait()
	s = openBolt(t, path, kv.BoltOptions{})
	for w := range writers {
		require.ErrorIs(t, errs[w], kv.ErrClosed)
		items, err := s.Query(ctx, fmt.Sprint(w), kv.Range{})
		require.NoError(t, err)
		require.Len(t, items, written[w])
	}
	require.NoError(t, s.Close())
}

// TestBoltVerifyBesideWriters: what is being written is never taken for damage.
func TestBoltVerifyBesideWriters(t *testing.T) {
	s := openBolt(t, boltPath(t), kv.BoltOptions{NoSync: true})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 200 {
				key := kv.Key{Part: fmt.Sprint(w), Sort: fmt.Sprint(i * 7919 % 50)}
				r := s.Write(ctx, kv.Write{Key: key, Value: make([]byte, i*37%9000), Delete: i%3 == 0, Any: true})
				if r[0].Err != nil {
					t.Error(r[0].Err)
				}
			}
		})
	}
	for range 20 {
		require.NoError(t, s.Verify(ctx))
	}
	wg.Wait()
	require.NoError(t, s.Verify(ctx))
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Verify(ctx), kv.ErrClosed)
}

// BenchmarkBoltEnds is how a broker finds the ends of 10,000 partitions.
func BenchmarkBoltEnds(b *testing.B) {
	s, err := kv.OpenBolt(filepath.Join(b.TempDir(), "kv.db"), kv.BoltOptions{NoSync: true})
	require.NoError(b, err)
	const parts = 10_000
	part := func(i int) string { return fmt.Sprintf("chain/AAAAAAAAQACAAAAAAAAAAA/%d", i) }
	for i := range parts {
		writes := make([]kv.Write, 5)
		for j := range writes {
			writes[j] = kv.Write{Key: kv.Key{Part: part(i), Sort: fmt.Sprintf("%020d", j)}, Value: make([]byte, 120)}
		}
		require.NoError(b, s.Write(ctx, writes...)[0].Err)
	}
	for b.Loop() {
		for i := range parts {
			items, err := s.Query(ctx, part(i), kv.Range{Reverse: true, Limit: 1})
			if err != nil || len(items) != 1 {
				b.Fatal(items, err)
			}
		}
	}
	require.NoError(b, s.Close())
}

func BenchmarkBoltPut(b *testing.B) {
	s, err := kv.OpenBolt(filepath.Join(b.TempDir(), "kv.db"), kv.BoltOptions{})
	require.NoError(b, err)
	key := kv.Key{Part: "p", Sort: "s"}
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, s.Write(ctx, kv.Write{Key: key, Any: true})[0].Err)
		}
	})
	b.Run("shared", func(b *testing.B) {
		b.SetParallelism(64)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				require.NoError(b, s.Write(ctx, kv.Write{Key: key, Any: true})[0].Err)
			}
		})
	})
	require.NoError(b, s.Close())
}
