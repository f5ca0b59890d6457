package metalog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/slotlog"
)

// requireWholeHistory checks that every slot up to a version is there once, in order.
func requireWholeHistory(t require.TestingT, c cluster, version uint64) []Slot {
	slots, err := History(ctx, c.store, c.objects, 0, 0)
	require.NoError(t, err)
	require.Len(t, slots, int(version))
	for i, s := range slots {
		require.Equal(t, uint64(i+1), s.Seq)
	}
	return slots
}

func (c cluster) archived(t *testing.T) []string {
	t.Helper()
	var names []string
	for info, err := range c.objects.List(ctx, ArchivePrefix, "") {
		require.NoError(t, err)
		require.NoError(t, CheckArchived(ctx, c.objects, info))
		names = append(names, info.Key)
	}
	return names
}

func TestHistory(t *testing.T) {
	c := newCluster()
	l := c.open(t, 1<<40, 3)
	for i := range 40 {
		add(t, l, audit(fmt.Sprint("k", i), 0), created(fmt.Sprint(i), i+1, 1))
		if i%7 == 0 {
			require.NoError(t, l.Snapshot(ctx))
		}
	}
	all := requireWholeHistory(t, c, 41)
	live, err := Slots(ctx, c.store, 0, 0)
	require.NoError(t, err)
	require.Less(t, len(live), 10)
	require.NotEmpty(t, c.archived(t))
	for from := uint64(0); from < 44; from++ {
		for _, limit := range []int{0, 1, 5, 50} {
			want := all[min(max(int(from), 1)-1, 41):]
			if limit > 0 {
				want = want[:min(limit, len(want))]
			}
			got, err := History(ctx, c.store, c.objects, from, limit)
			require.NoError(t, err)
			require.Len(t, got, len(want), "from %d, limit %d", from, limit)
			for i := range got {
				require.Equal(t, want[i], got[i])
			}
		}
	}
	entries := all[5].Audit()
	require.Len(t, entries, 1)
	require.Equal(t, AuditEntry{Slot: 6, Audited: audit("k4", 0), Changes: []Record{}}, entries[0], "without Records it explains nothing")
	require.Empty(t, all[0].Audit())
}

func TestAuditEntries(t *testing.T) {
	one, two := audit("", 0), audit("", 0)
	one.Records, two.Records = 2, 9
	a, b, c := created("a", 1, 1), created("b", 2, 1), created("c", 3, 1)
	entries := Slot{Seq: 4, Records: []Record{one, a, b, two, c}}.Audit()
	require.Equal(t, []AuditEntry{
		{Slot: 4, Index: 0, Audited: one, Changes: []Record{a, b}},
		{Slot: 4, Index: 3, Audited: two, Changes: []Record{c}},
	}, entries)
}

// TestArchiveStopped stops Snapshot at each operation on the object store. No slot is lost
// to the history, and the next snapshot goes on.
func TestArchiveStopped(t *testing.T) {
	injected := errors.New("injected")
	for _, landed := range []bool{false, true} {
		for stop := 1; ; stop++ {
			c := newCluster()
			ops := 0
			objects := failingPuts{c.objects, func() (bool, error) {
				if ops++; ops == stop {
					return landed, injected
				}
				return true, nil
			}}
			l, err := Open(ctx, Options{Store: c.store, Objects: objects, SnapshotEvery: 1 << 40, KeepSlots: 2})
			require.NoError(t, err)
			for round := range 3 {
				for i := range 5 {
					add(t, l, created(fmt.Sprint(round, i), round*10+i+1, 1))
				}
				if err := l.Snapshot(ctx); err != nil {
					require.ErrorIs(t, err, injected)
				}
				requireWholeHistory(t, c, l.Image().Version())
			}
			require.NoError(t, l.Snapshot(ctx))
			requireWholeHistory(t, c, l.Image().Version())
			require.NoError(t, l.Close(ctx))
			if ops < stop {
				require.Greater(t, stop, 5)
				break
			}
		}
	}
}

// failingPuts asks fail about each Put: with what it fails, and whether it is done nevertheless.
type failingPuts struct {
	objstore.Store
	fail func() (done bool, err error)
}

// Put implements objstore.Store.
func (s failingPuts) Put(ctx context.Context, key string, body io.Reader) error {
	done, err := s.fail()
	if done {
		err = errors.Join(err, s.Store.Put(ctx, key, body))
	}
	return err
}

// TestArchivedByTwo: brokers that make snapshots at the same time lose nothing.
func TestArchivedByTwo(t *testing.T) {
	c := newCluster()
	logs := []*Log{c.open(t, 1<<40, 2), c.open(t, 1<<40, 2), c.open(t, 1<<40, 2)}
	var group sync.WaitGroup
	errs := make([]error, len(logs))
	for i, l := range logs {
		group.Go(func() {
			for n := range 40 {
				_, err := l.Update(ctx, func(*Image) ([]Record, error) {
					return []Record{created(fmt.Sprint(i, "-", n), i*100+n+1, 1)}, nil
				})
				if n%3 == 0 {
					err = errors.Join(err, l.Snapshot(ctx))
				}
				if !errors.Is(err, kv.ErrUnknown) { // overtaken by a truncation
					errs[i] = errors.Join(errs[i], err)
				}
			}
		})
	}
	group.Wait()
	require.NoError(t, errors.Join(errs...))
	require.NoError(t, logs[0].Refresh(ctx))
	slots := requireWholeHistory(t, c, logs[0].Image().Version())
	made := map[string]bool{}
	for _, s := range slots[1:] {
		topic, ok := s.Records[0].(TopicCreated)
		require.True(t, ok)
		require.False(t, made[topic.Name], "%s is made twice", topic.Name)
		made[topic.Name] = true
	}
	require.Len(t, logs[0].Image().Topics(), len(made))
}

// TestHistoryWithGaps: what was truncated without an archive, or kept for long enough, is left out.
func TestHistoryWithGaps(t *testing.T) {
	c := newCluster()
	l := c.open(t, 1<<40, 2)
	for i := range 10 {
		add(t, l, created(fmt.Sprint(i), i+1, 1))
	}
	require.NoError(t, slotlog.Open(c.store, stream).Truncate(ctx, 4))
	require.NoError(t, l.Snapshot(ctx))
	for i := range 10 {
		add(t, l, created(fmt.Sprint("more", i), 100+i, 1))
	}
	require.NoError(t, l.Snapshot(ctx))
	seqs := func() (seqs []uint64) {
		slots, err := History(ctx, c.store, c.objects, 0, 0)
		require.NoError(t, err)
		for _, s := range slots {
			seqs = append(seqs, s.Seq)
		}
		return seqs
	}
	require.Equal(t, []uint64{4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21}, seqs())
	names := c.archived(t)
	require.Len(t, names, 2)
	require.NoError(t, c.objects.Delete(ctx, names[0]))
	require.Equal(t, []uint64{10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21}, seqs())

	from, err := ArchivedSince(ctx, c.objects, time.Now())
	require.NoError(t, err)
	require.Equal(t, uint64(1), from)
	from, err = ArchivedSince(ctx, c.objects, time.Now().Add(2*time.Hour))
	require.NoError(t, err)
	require.Equal(t, uint64(20), from)
}

func archiveOf(payloads ...string) []byte {
	slots := make([]slotlog.Slot, len(payloads))
	for i, p := range payloads {
		slots[i] = slotlog.Slot{Seq: uint64(7 + i), Payload: []byte(p)}
	}
	return encodeArchive(slots)
}

func TestArchiveCodec(t *testing.T) {
	good := archiveOf("one", "", "three")
	golden(t, "archive-v1.bin", good)
	slots, err := decodeArchive(good)
	require.NoError(t, err)
	require.Equal(t, []slotlog.Slot{{Seq: 7, Payload: []byte("one")}, {Seq: 8, Payload: []byte{}}, {Seq: 9, Payload: []byte("three")}}, slots)
	for at := range good {
		_, err := decodeArchive(good[:at])
		require.ErrorIs(t, err, ErrCorrupt, "cut to %d bytes", at)
		bad := append([]byte{}, good...)
		bad[at] ^= 1
		_, err = decodeArchive(bad)
		require.Error(t, err, "byte %d", at)
	}
	newer := append([]byte{}, good...)
	newer[4] = archiveVersion + 1
	_, err = decodeArchive(newer)
	require.ErrorIs(t, err, ErrNewer)
	_, err = os.Stat(filepath.Join("testdata", "archive-v1.bin"))
	require.NoError(t, err)

	for name, want := range map[string]bool{
		ArchivePrefix + "00000000000000000001-00000000000000000002-X": true,
		ArchivePrefix + "00000000000000000002-00000000000000000001-X": false,
		ArchivePrefix + "00000000000000000000-00000000000000000001-X": false,
		ArchivePrefix + "1-2-X": false,
		ArchivePrefix + "00000000000000000001-00000000000000000002-": false,
		"metalog/00000000000000000001-X":                             false,
	} {
		require.Equal(t, want, IsArchive(name), name)
		if want {
			require.False(t, IsSnapshot(name))
		}
	}
	require.Error(t, CheckArchived(ctx, objstore.NewMem(), objstore.Info{Key: "metalog/x"}))
	objects := objstore.NewMem()
	wrong := ArchivePrefix + "00000000000000000001-00000000000000000002-X"
	require.NoError(t, objects.Put(ctx, wrong, strings.NewReader(string(good))))
	require.ErrorIs(t, CheckArchived(ctx, objects, objstore.Info{Key: wrong, Size: int64(len(good))}), ErrCorrupt)
	require.ErrorIs(t, CheckArchived(ctx, objects, objstore.Info{Key: wrong, Size: 1 << 40}), ErrCorrupt)
}

// FuzzDecodeArchive: the decoder never panics, and what it accepts it writes alike.
func FuzzDecodeArchive(f *testing.F) {
	f.Add(archiveOf("one", "", "three"))
	f.Add(archiveOf(strings.Repeat("x", 100)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= archiveHeader { // gets the fuzzer past the checksum
			b = append([]byte{}, b...)
			binary.LittleEndian.PutUint32(b[crcAt:], frameCRC(b, b[headerSize:]))
		}
		slots, err := decodeArchive(b)
		if err == nil {
			require.Equal(t, b, encodeArchive(slots))
		}
	})
}
