// Package objstoretest holds what every driver of objstore.Store must do, as a
// test suite that the drivers' own tests run.
package objstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/objstore"
)

// Run checks the driver that open returns; each call must give an empty store,
// which Run closes.
func Run(t *testing.T, open func(t *testing.T) objstore.Store) {
	for name, test := range map[string]func(*testing.T, objstore.Store){
		"put and read":            testPut,
		"put exists":              testExists,
		"concurrent puts":         testConcurrentPuts,
		"failing body":            testFailingBody,
		"ranged reads":            testRangedReads,
		"concurrent reads":        testConcurrentReads,
		"stat":                    testStat,
		"list order":              testListOrder,
		"list prefix and after":   testListPrefixAndAfter,
		"list stops":              testListStops,
		"delete":                  testDelete,
		"delete while reading":    testDeleteWhileReading,
		"put, read, delete races": testRaces,
		"keys":                    testKeys,
		"invalid keys":            testInvalidKeys,
		"cancelled context":       testCancelled,
		"unfinished uploads":      testUnfinished,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			test(t, s)
			require.NoError(t, s.Close())
		})
	}
	t.Run("closed", func(t *testing.T) { testClosed(t, open(t)) })
}

func put(t *testing.T, s objstore.Store, key, content string) {
	t.Helper()
	require.NoError(t, s.Put(t.Context(), key, strings.NewReader(content)))
}

// get reads a whole object by its size.
func get(t *testing.T, s objstore.Store, key string) string {
	t.Helper()
	info, err := s.Stat(t.Context(), key)
	require.NoError(t, err)
	p := make([]byte, info.Size)
	n, err := s.ReadAt(t.Context(), key, p, 0)
	require.NoError(t, err)
	require.Equal(t, len(p), n)
	return string(p)
}

func list(t *testing.T, s objstore.Store, prefix, after string) []string {
	t.Helper()
	keys := []string{}
	for info, err := range s.List(t.Context(), prefix, after) {
		require.NoError(t, err)
		keys = append(keys, info.Key)
	}
	return keys
}

// requireAbsent checks that nothing of the object is visible.
func requireAbsent(t *testing.T, s objstore.Store, key string) {
	t.Helper()
	_, err := s.Stat(t.Context(), key)
	require.ErrorIs(t, err, objstore.ErrNotFound)
	_, err = s.ReadAt(t.Context(), key, make([]byte, 1), 0)
	require.ErrorIs(t, err, objstore.ErrNotFound)
	_, err = s.ReadAt(t.Context(), key, nil, 0)
	require.ErrorIs(t, err, objstore.ErrNotFound)
	require.NotContains(t, list(t, s, key, ""), key)
}

// random returns bytes that differ everywhere, so that a misplaced range is seen.
func random(n int) []byte {
	p := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(p) // never fails
	return p
}

func testPut(t *testing.T, s objstore.Store) {
	for _, size := range []int{0, 1, 511, 64 << 10, 512 << 10, 512<<10 + 1, 3_000_000} {
		key := fmt.Sprintf("packs/%d.pack", size)
		want := random(size)
		require.NoError(t, s.Put(t.Context(), key, bytes.NewReader(want)))
		require.True(t, string(want) == get(t, s, key), "%d bytes", size)
	}
	want := random(5_000)
	require.NoError(t, s.Put(t.Context(), "bytewise", iotest.OneByteReader(bytes.NewReader(want))))
	require.True(t, string(want) == get(t, s, "bytewise"))
	require.NoError(t, s.Put(t.Context(), "data with EOF", iotest.DataErrReader(bytes.NewReader(want))))
	require.True(t, string(want) == get(t, s, "data with EOF"))
}

func testExists(t *testing.T, s objstore.Store) {
	put(t, s, "a/object", "first")
	for _, second := range []string{"", "other", "first"} {
		err := s.Put(t.Context(), "a/object", strings.NewReader(second))
		require.ErrorIs(t, err, objstore.ErrExists)
		require.Equal(t, "first", get(t, s, "a/object"))
	}
	put(t, s, "empty", "")
	require.ErrorIs(t, s.Put(t.Context(), "empty", strings.NewReader("x")), objstore.ErrExists)
	require.Empty(t, get(t, s, "empty"))
}

func testConcurrentPuts(t *testing.T, s objstore.Store) {
	const writers, rounds = 8, 10
	for round := range rounds {
		key := fmt.Sprintf("dir-%d/object", round) // the writers race for the directory too
		body := func(writer int) string { return strings.Repeat(fmt.Sprint(writer), 10_000+writer) }
		var winner atomic.Int64
		winner.Store(-1)
		var wins atomic.Int64
		start := make(chan struct{})
		var group sync.WaitGroup
		for writer := range writers {
			group.Go(func() {
				<-start
				err := s.Put(t.Context(), key, strings.NewReader(body(writer)))
				if err == nil {
					wins.Add(1)
					winner.Store(int64(writer))
				} else if !errors.Is(err, objstore.ErrExists) {
					t.Errorf("put: %v", err)
				}
			})
		}
		close(start)
		group.Wait()
		require.Equal(t, int64(1), wins.Load())
		require.Equal(t, body(int(winner.Load())), get(t, s, key))
	}
}

func testFailingBody(t *testing.T, s objstore.Store) {
	broken := errors.New("connection lost")
	for i, failure := range []error{broken, io.ErrUnexpectedEOF, fmt.Errorf("read body: %w", io.EOF)} {
		for _, size := range []int{0, 10, 1 << 20} {
			key := fmt.Sprintf("failed/%d/%d", i, size)
			body := io.MultiReader(bytes.NewReader(random(size)), iotest.ErrReader(failure))
			require.ErrorIs(t, s.Put(t.Context(), key, body), failure)
			requireAbsent(t, s, key)
			put(t, s, key, "second attempt")
			require.Equal(t, "second attempt", get(t, s, key))
		}
	}
}

func testRangedReads(t *testing.T, s objstore.Store) {
	const size = 100_000
	want := random(size)
	require.NoError(t, s.Put(t.Context(), "object", bytes.NewReader(want)))
	put(t, s, "empty", "")
	for _, c := range []struct {
		key         string
		off, length int64
		n           int64
		err         error
	}{
		{"object", 0, size, size, nil},
		{"object", 0, 1, 1, nil},
		{"object", 4_095, 2, 2, nil},
		{"object", 65_000, 20_000, 20_000, nil},
		{"object", size - 1, 1, 1, nil},
		{"object", size - 10, 11, 10, io.EOF},
		{"object", 0, size + 1, size, io.EOF},
		{"object", size, 1, 0, io.EOF},
		{"object", 10 * size, 1, 0, io.EOF},
		{"object", 50, 0, 0, nil},
		{"object", size, 0, 0, nil},
		{"empty", 0, 0, 0, nil},
		{"empty", 0, 1, 0, io.EOF},
		{"empty", 1, 1, 0, io.EOF},
	} {
		p := make([]byte, c.length)
		n, err := s.ReadAt(t.Context(), c.key, p, c.off)
		require.Equal(t, c.err, err, "%+v", c) // io.EOF is not wrapped
		require.Equal(t, c.n, int64(n), "%+v", c)
		if n > 0 {
			require.True(t, bytes.Equal(want[c.off:c.off+c.n], p[:n]), "%+v", c)
		}
	}
	_, err := s.ReadAt(t.Context(), "object", make([]byte, 1), -1)
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
	requireAbsent(t, s, "absent")
}

// testConcurrentReads reads more objects than a driver may keep open.
func testConcurrentReads(t *testing.T, s objstore.Store) {
	const objects, length = 150, 1_000
	content := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, length) }
	for i := range objects {
		require.NoError(t, s.Put(t.Context(), fmt.Sprint("o/", i), bytes.NewReader(content(i))))
	}
	var group sync.WaitGroup
	for reader := range uint64(4) {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(reader, 0))
			p := make([]byte, 100)
			for range 1_000 {
				i, off := rng.IntN(objects), rng.IntN(length-len(p))
				_, err := s.ReadAt(t.Context(), fmt.Sprint("o/", i), p, int64(off))
				if err != nil || !bytes.Equal(p, content(i)[:len(p)]) {
					t.Errorf("read object %d at %d: %v", i, off, err)
					return
				}
			}
		})
	}
	group.Wait()
}

func testStat(t *testing.T, s objstore.Store) {
	before := time.Now().Add(-time.Minute) // stores have clocks of their own
	put(t, s, "a/b", "content")
	info, err := s.Stat(t.Context(), "a/b")
	require.NoError(t, err)
	require.Equal(t, "a/b", info.Key)
	require.Equal(t, int64(7), info.Size)
	require.True(t, info.Modified.After(before) && info.Modified.Before(time.Now().Add(time.Minute)), info.Modified)
	for listed, err := range s.List(t.Context(), "", "") {
		require.NoError(t, err)
		require.Equal(t, info, listed)
	}
	requireAbsent(t, s, "a")
	requireAbsent(t, s, "a/b/c")
	requireAbsent(t, s, "A/B")
}

// listKeys are in bytewise order, which is not that of a walk over directories.
var listKeys = []string{
	"a", "a!", "a-b", "a.d", "a.d/x", "a/b", "a/b-c", "a/b/c", "a/bb", "a0", "aa/1", "aa/2", "b/1/1", "b/1/2", "b/2", "b0/1", "ä/ü",
}

func testListOrder(t *testing.T, s objstore.Store) {
	require.Empty(t, list(t, s, "", ""))
	require.True(t, slices.IsSorted(listKeys))
	keys := slices.Clone(listKeys)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys {
		put(t, s, key, key)
	}
	require.Equal(t, listKeys, list(t, s, "", ""))
	for info, err := range s.List(t.Context(), "", "") {
		require.NoError(t, err)
		require.Equal(t, int64(len(info.Key)), info.Size)
	}
}

func testListPrefixAndAfter(t *testing.T, s objstore.Store) {
	for _, key := range listKeys {
		put(t, s, key, "")
	}
	points := append(slices.Clone(listKeys), "", "a/", "a/b/", "aa", "b", "b/1/", "c", "\xff", "b/1/11", "a.")
	for _, prefix := range points {
		for _, after := range points {
			want := []string{}
			for _, key := range listKeys {
				if strings.HasPrefix(key, prefix) && key > after {
					want = append(want, key)
				}
			}
			require.Equal(t, want, list(t, s, prefix, after), "prefix %q after %q", prefix, after)
		}
	}
}

func testListStops(t *testing.T, s objstore.Store) {
	for _, key := range listKeys {
		put(t, s, key, "")
	}
	for limit := 1; limit <= len(listKeys); limit++ {
		var got []string
		for info, err := range s.List(t.Context(), "", "") {
			require.NoError(t, err)
			if got = append(got, info.Key); len(got) == limit {
				break
			}
		}
		require.Equal(t, listKeys[:limit], got)
	}
	// Objects may come and go under a list.
	var got []string
	for info, err := range s.List(t.Context(), "a/", "") {
		require.NoError(t, err)
		got = append(got, info.Key)
		require.NoError(t, s.Delete(t.Context(), info.Key))
	}
	require.Equal(t, []string{"a/b", "a/b-c", "a/b/c", "a/bb"}, got)
	require.Empty(t, list(t, s, "a/", ""))
}

func testDelete(t *testing.T, s objstore.Store) {
	require.NoError(t, s.Delete(t.Context(), "absent"))
	require.NoError(t, s.Delete(t.Context(), "absent/too"))
	put(t, s, "a/b", "content")
	put(t, s, "a/c", "content")
	require.Equal(t, "content", get(t, s, "a/b"))
	require.NoError(t, s.Delete(t.Context(), "a/b"))
	requireAbsent(t, s, "a/b")
	require.NoError(t, s.Delete(t.Context(), "a/b"))
	require.NoError(t, s.Delete(t.Context(), "a"), "a prefix is no object")
	require.Equal(t, []string{"a/c"}, list(t, s, "", ""))
	put(t, s, "a/b", "new")
	require.Equal(t, "new", get(t, s, "a/b"))
}

// testDeleteWhileReading allows a read that races with Delete the content or
// ErrNotFound, and one after it only the latter.
func testDeleteWhileReading(t *testing.T, s objstore.Store) {
	want := random(50_000)
	for round := range 20 {
		key := fmt.Sprint("object-", round)
		require.NoError(t, s.Put(t.Context(), key, bytes.NewReader(want)))
		var group sync.WaitGroup
		var reads atomic.Int64
		for range 3 {
			group.Go(func() {
				p := make([]byte, len(want))
				for {
					n, err := s.ReadAt(t.Context(), key, p, 0)
					reads.Add(1)
					if errors.Is(err, objstore.ErrNotFound) {
						return
					}
					if err != nil || !bytes.Equal(want, p[:n]) {
						t.Errorf("read %d bytes: %v", n, err)
						return
					}
				}
			})
		}
		for reads.Load() < 6 {
			_, err := s.Stat(t.Context(), key)
			require.NoError(t, err)
		}
		require.NoError(t, s.Delete(t.Context(), key))
		requireAbsent(t, s, key)
		group.Wait()
	}
}

// testRaces puts, reads and deletes a few keys at once; no reader may see a part
// of an object.
func testRaces(t *testing.T, s objstore.Store) {
	const keys, steps = 5, 150
	want := random(20_000)
	var group sync.WaitGroup
	for worker := range uint64(6) {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(worker, 1))
			p := make([]byte, len(want)+1)
			for range steps {
				key := fmt.Sprintf("race/%d", rng.IntN(keys))
				var err error
				switch rng.IntN(3) {
				case 0:
					err = s.Put(t.Context(), key, bytes.NewReader(want))
				case 1:
					err = s.Delete(t.Context(), key)
				case 2:
					var n int
					n, err = s.ReadAt(t.Context(), key, p, 0)
					if err == io.EOF && bytes.Equal(want, p[:n]) { //nolint:errorlint // promised bare
						err = nil
					}
				}
				if err != nil && !errors.Is(err, objstore.ErrExists) && !errors.Is(err, objstore.ErrNotFound) {
					t.Errorf("%s: %v", key, err)
					return
				}
			}
		})
	}
	group.Wait()
}

// testKeys stores keys that trouble file systems.
func testKeys(t *testing.T, s objstore.Store) {
	long := strings.Repeat("long-", 60)
	keys := []string{
		"object", "object/below", "object/below/below", "object.d", "object.d/x", "object%2ed", "%tmp/x", "%lock", "%", "%-", "%+",
		".hidden", "...", "a b", "tab\tand\nnewline", "nul\x00", "back\\slash", `q"'*?<>|:`, "ünïcode/日本語",
		long, long + "x", long + "/x", long[:80], long[:80] + "/x", long[:80] + ".", long[:80] + "..", long[:160],
		strings.Repeat("k", objstore.MaxKey), strings.Repeat("k/", objstore.MaxKey/2-1) + "k", strings.Repeat("ü", objstore.MaxKey/2),
	}
	for i, key := range keys {
		put(t, s, key, fmt.Sprint(i))
	}
	for i, key := range keys {
		require.Equal(t, fmt.Sprint(i), get(t, s, key), "%q", key)
	}
	slices.Sort(keys)
	require.Equal(t, keys, list(t, s, "", ""))
	for _, key := range keys {
		require.NoError(t, s.Delete(t.Context(), key))
	}
	require.Empty(t, list(t, s, "", ""))
}

func testInvalidKeys(t *testing.T, s objstore.Store) {
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "./a", "../a", "a/.", "a/..", "a/../b", "a/./b",
		strings.Repeat("k", objstore.MaxKey+1), "\xff", "a/\xc3",
	} {
		_, err := s.Stat(t.Context(), key)
		require.ErrorIs(t, err, objstore.ErrInvalidKey, "%q", key)
		_, err = s.ReadAt(t.Context(), key, make([]byte, 1), 0)
		require.ErrorIs(t, err, objstore.ErrInvalidKey, "%q", key)
		require.ErrorIs(t, s.Put(t.Context(), key, strings.NewReader("x")), objstore.ErrInvalidKey, "%q", key)
		require.ErrorIs(t, s.Delete(t.Context(), key), objstore.ErrInvalidKey, "%q", key)
	}
	require.Empty(t, list(t, s, "", ""))
}

func testCancelled(t *testing.T, s objstore.Store) {
	put(t, s, "object", "content")
	put(t, s, "other", "content")
	ctx, cancel := context.WithCancel(t.Context())
	body := iotest.OneByteReader(bytes.NewReader(random(2 << 20)))
	midway := readerFunc(func(p []byte) (int, error) {
		cancel()
		return body.Read(p)
	})
	require.ErrorIs(t, s.Put(ctx, "new", midway), context.Canceled)
	requireAbsent(t, s, "new")

	require.ErrorIs(t, s.Put(ctx, "new", strings.NewReader("x")), context.Canceled)
	requireAbsent(t, s, "new")
	_, err := s.ReadAt(ctx, "object", make([]byte, 1), 0)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Stat(ctx, "object")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Delete(ctx, "object"), context.Canceled)
	require.Equal(t, "content", get(t, s, "object"))
	failures := 0
	for _, err := range s.List(ctx, "", "") {
		require.ErrorIs(t, err, context.Canceled)
		failures++
	}
	require.Equal(t, 1, failures, "a list stops after an error")
}

func testClosed(t *testing.T, s objstore.Store) {
	put(t, s, "object", "content")
	require.Equal(t, "content", get(t, s, "object"))
	require.NoError(t, s.Close())
	require.Error(t, s.Put(t.Context(), "new", strings.NewReader("x")))
	_, err := s.ReadAt(t.Context(), "object", make([]byte, 1), 0)
	require.Error(t, err)
	_, err = s.Stat(t.Context(), "object")
	require.Error(t, err)
	require.NotErrorIs(t, err, objstore.ErrNotFound, "a closed store must not look empty")
	require.Error(t, s.Delete(t.Context(), "object"))
	for _, err := range s.List(t.Context(), "", "") {
		require.Error(t, err)
	}
}

// readerFunc is an io.Reader made of a function.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
