package journal

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
)

// indexed is a journal on mem whose index is in dir, with some rolled segments.
func indexedJournal(t testing.TB, mem vfs.FS, dir string) (Config, model) {
	t.Helper()
	cfg := testConfig(mem)
	cfg.IndexDir, cfg.TailBytes = dir, 1
	j, _ := openTest(t, cfg)
	m := model{}
	for round := range 10 {
		fill(t, j, m, 60, 40, uint64(round))
		commit(t, j)
	}
	closeTest(t, j)
	return cfg, m
}

func reopen(t testing.TB, cfg Config, m model) Recovery {
	t.Helper()
	j, rec := openTest(t, cfg)
	requireModel(t, j, m, 1<<20)
	closeTest(t, j)
	return rec
}

func TestIndexIsKept(t *testing.T) {
	cfg, m := indexedJournal(t, vfs.NewMem(), t.TempDir())
	rec := reopen(t, cfg, m)
	require.False(t, rec.IndexRebuilt)
	require.Zero(t, rec.Scanned, "nothing is read twice after a clean end")
	n := 0
	require.NoError(t, InspectIndex(cfg.IndexDir, func(p id.Partition, e Entry) error {
		n++
		return nil
	}))
	require.Equal(t, 600, n)
	require.False(t, reopen(t, cfg, m).IndexRebuilt, "inspection changes nothing")
}

func TestIndexDeleted(t *testing.T) {
	cfg, m := indexedJournal(t, vfs.NewMem(), t.TempDir())
	require.NoError(t, os.RemoveAll(cfg.IndexDir))
	rec := reopen(t, cfg, m)
	require.Equal(t, rec.Segments, rec.Scanned)
	require.Zero(t, reopen(t, cfg, m).Scanned)
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(to))
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
}

func TestStaleIndexRestored(t *testing.T) {
	mem, stale := vfs.NewMem(), t.TempDir()
	cfg, m := indexedJournal(t, mem, t.TempDir())
	copyDir(t, cfg.IndexDir, stale)
	j, _ := openTest(t, cfg)
	require.NoError(t, j.Drop(j.Segments()[0].ID))
	for p := range m {
		start, _ := j.HotStart(p)
		for len(m[p]) > 0 && m[p][0].NextOffset() <= start {
			m[p] = m[p][1:]
		}
	}
	fill(t, j, m, 200, 40, 99)
	commit(t, j)
	closeTest(t, j)
	copyDir(t, stale, cfg.IndexDir)
	rec := reopen(t, cfg, m)
	require.Positive(t, rec.Scanned)
	require.Zero(t, reopen(t, cfg, m).Scanned)
}

func TestIndexOfAnotherCluster(t *testing.T) {
	mem := vfs.NewMem()
	cfg, m := indexedJournal(t, mem, t.TempDir())
	other := testConfig(vfs.NewMem())
	other.Cluster, other.IndexDir = "cluster-b", t.TempDir()
	j, _ := openTest(t, other)
	closeTest(t, j)
	copyDir(t, other.IndexDir, cfg.IndexDir)
	require.True(t, reopen(t, cfg, m).IndexRebuilt)
}

func TestIndexLacksAKey(t *testing.T) {
	cfg, m := indexedJournal(t, vfs.NewMem(), t.TempDir())
	x, err := openIndex(cfg.IndexDir, cfg.Cluster, cfg.withDefaults().Logger)
	require.NoError(t, err)
	var key []byte
	require.NoError(t, x.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{keyRun}})
		defer it.Close()
		it.Rewind()
		key = it.Item().KeyCopy(nil)
		return nil
	}))
	require.NoError(t, x.remove([][]byte{key}))
	require.NoError(t, x.close())
	require.True(t, reopen(t, cfg, m).IndexRebuilt)
	require.False(t, reopen(t, cfg, m).IndexRebuilt)
}

// TestIndexFilesDamaged flips bits in, and truncates, every file of the index: reads
// are right immediately after.
func TestIndexFilesDamaged(t *testing.T) {
	mem := vfs.NewMem()
	cfg, m := indexedJournal(t, mem, t.TempDir())
	whole := t.TempDir()
	copyDir(t, cfg.IndexDir, whole)
	require.NoError(t, filepath.WalkDir(whole, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" {
			return err
		}
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		name := filepath.Join(cfg.IndexDir, strings.TrimPrefix(path, whole))
		used := len(bytes.TrimRight(content, "\x00"))
		for k := range 8 {
			copyDir(t, whole, cfg.IndexDir)
			broken := bytes.Clone(content)
			if used > 0 {
				broken[used*k/8] ^= 1 << k
			}
			require.NoError(t, os.WriteFile(name, broken, 0o644))
			reopen(t, cfg, m)
		}
		for k := range 4 {
			copyDir(t, whole, cfg.IndexDir)
			require.NoError(t, os.WriteFile(name, content[:used*k/4], 0o644))
			reopen(t, cfg, m)
		}
		return nil
	}))
}

// TestIndexKilled is the index as it is when the process ends without closing it.
func TestIndexKilled(t *testing.T) {
	mem, killed := vfs.NewMem(), t.TempDir()
	cfg, m := indexedJournal(t, mem, t.TempDir())
	j, _ := openTest(t, cfg)
	fill(t, j, m, 200, 40, 99)
	commit(t, j)
	require.Eventually(t, func() bool {
		j.mu.RLock()
		defer j.mu.RUnlock()
		return j.pending < 50
	}, waitLong, waitStep)
	copyDir(t, cfg.IndexDir, killed)
	crashed := mem.Crash()
	_ = j.Close(context.Background())
	copyDir(t, killed, cfg.IndexDir)
	cfg.FS = crashed
	require.True(t, reopen(t, cfg, m).IndexRebuilt)
	require.False(t, reopen(t, cfg, m).IndexRebuilt)
}

// TestEarlyIndexing moves entries of a segment that is not rolled to the index.
func TestEarlyIndexing(t *testing.T) {
	mem := vfs.NewMem()
	cfg := testConfig(mem)
	cfg.SegmentBytes, cfg.TailBytes, cfg.IndexDir = 64<<20, 1, t.TempDir()
	j, _ := openTest(t, cfg)
	m := model{}
	p := partition(0)
	const n = maxPending + 1000
	template := newBatch(p, 0, 1, 5)
	for i := range id.Offset(n) {
		v := restamp(template, i)
		_, err := j.Append(p, v)
		require.NoError(t, err)
		m[p] = append(m[p], v)
	}
	commit(t, j)
	require.Eventually(t, func() bool {
		j.mu.RLock()
		defer j.mu.RUnlock()
		return j.pending == 0
	}, waitLong, waitStep)
	require.Len(t, j.Segments(), 1)
	requireModel(t, j, m, 1<<20)
	require.NoError(t, j.repairIndex(p, 0, errIndex))
	requireModel(t, j, m, 1<<20)
	crashed := mem.Crash()
	_ = j.Close(context.Background())
	cfg.FS = crashed
	reopen(t, cfg, m)
	require.Zero(t, reopen(t, cfg, m).Scanned)
}
