package survey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/survey"
	"github.com/forebaylog/forebay/tiering/wal"
)

const (
	earlier = id.Session("AAAAAAAAAAAAAAAAAAAAAA")
	now     = id.Session("BBBBBBBBBBBBBBBBBBBBBB")
)

var (
	topic = id.Topic{7}
	base  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
)

func part(n int32) id.Partition { return id.Partition{Topic: topic, Index: n} }

// world is a partition whose records are a second apart, from base on: [0,10) and [10,20) in packs, [20,25) in the stream of an
// earlier leader, of which a second object, [25,30), does not count, and [25,35) in that of the leader of now.
type world struct {
	table   *kv.Mem
	objects *objstore.Mem
	image   *metalog.Image
	reader  *survey.Reader
}

func newWorld(t *testing.T) *world {
	w := &world{table: kv.NewMem(), objects: objstore.NewMem()}
	w.reader = &survey.Reader{Table: w.table, Objects: w.objects, Cold: cold.New(w.objects, cold.Config{})}
	t.Cleanup(func() { require.NoError(t, w.reader.Cold.Close(context.Background())) })
	lead := metalog.Assignment{Leader: 1, Replicas: []id.Broker{1, 2}}
	w.image = metalog.NewImage("c",
		metalog.BrokerRegistered{ID: 1, Incarnation: earlier},
		metalog.BrokerRegistered{ID: 2, Incarnation: now},
		metalog.TopicCreated{Name: "t", ID: topic, Partitions: []metalog.Assignment{lead, lead}},
		metalog.LeadersChanged{
			Changes: []metalog.LeaderChange{{Partition: part(0), Leader: 2, Epoch: 1}}, Tail: &metalog.Tail{Session: earlier, Through: 1},
		},
		metalog.LogStartsMoved{Moves: []metalog.StartMove{{Partition: part(0), Epoch: 1, Start: 3}}},
	)
	for _, from := range []id.Offset{0, 10} {
		footer, ref := w.object(t, "packs/"+from.String(), from, from+10)
		for _, err := range chain.Open(w.table).Append(t.Context(), []chain.Link{{Partition: part(0), Segment: chain.SegmentOf(&footer.Runs[0], ref.Name, ref.Size)}}) {
			require.NoError(t, err)
		}
	}
	_, counts := w.object(t, "wal/"+string(earlier)+"/1.pack", 20, 25)
	_, late := w.object(t, "wal/"+string(earlier)+"/2.pack", 25, 30)
	_, newest := w.object(t, "wal/"+string(now)+"/1.pack", 25, 35)
	w.slot(t, earlier, 1, wal.Slot{Objects: []wal.ObjectRef{counts}})
	w.slot(t, earlier, 2, wal.Slot{Objects: []wal.ObjectRef{late}})
	w.slot(t, now, 1, wal.Slot{Objects: []wal.ObjectRef{newest}})
	return w
}

// object stores batches of five records of partition 0.
func (w *world) object(t *testing.T, name string, from, to id.Offset) (*pack.Footer, wal.ObjectRef) {
	var b bytes.Buffer
	out := pack.NewWriter(&b, pack.Header{Cluster: "c", Node: 1, Created: time.UnixMilli(base)})
	require.NoError(t, out.BeginRun(part(0)))
	for at := from; at < to; at += 5 {
		v := batch.New(batch.None).Base(at)
		for i := range id.Offset(5) {
			v.Add(batch.Record{Timestamp: base + int64(at+i)*1000, Value: []byte("v")})
		}
		require.NoError(t, out.Append(v.Build()))
	}
	require.NoError(t, out.EndRun(nil, nil))
	footer, err := out.Close()
	require.NoError(t, err)
	require.NoError(t, w.objects.Put(t.Context(), name, bytes.NewReader(b.Bytes())))
	return footer, wal.ObjectRef{Name: name, Size: int64(b.Len())}
}

func (w *world) slot(t *testing.T, session id.Session, seq uint64, s wal.Slot) {
	s.Version = 1
	payload, err := json.Marshal(s)
	require.NoError(t, err)
	require.NoError(t, wal.Slots(w.table, session).Append(t.Context(), seq, payload))
}

func (w *world) look(t *testing.T) *survey.View {
	v, err := w.reader.Look(t.Context(), w.image, []id.Partition{part(0), part(1), {Topic: id.Topic{9}}})
	require.NoError(t, err)
	return v
}

func TestLook(t *testing.T) {
	v := newWorld(t).look(t)
	at, ok := v.Of(part(0))
	require.True(t, ok)
	require.Positive(t, at.WAL)
	at.WAL = 0
	require.Equal(t, survey.Position{Start: 3, Sealed: 20, End: 35}, at)
	empty, ok := v.Of(part(1))
	require.True(t, ok)
	require.Zero(t, empty)
	_, ok = v.Of(id.Partition{Topic: id.Topic{9}})
	require.False(t, ok)
}

// TestTimes: every offset has its time, to within a batch, and every time has its offset, wherever the record is.
func TestTimes(t *testing.T) {
	v := newWorld(t).look(t)
	for o := id.Offset(0); o < 35; o++ {
		ms, err := v.TimeAt(t.Context(), part(0), o)
		require.NoError(t, err)
		require.GreaterOrEqual(t, ms, base+int64(max(o, 3))*1000)
		require.LessOrEqual(t, ms, base+int64(o+10)*1000, "an entry covers what its object has")
		at, ok, err := v.OffsetAt(t.Context(), part(0), base+int64(o)*1000-1)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, max(o, 3), at)
	}
	_, err := v.TimeAt(t.Context(), part(0), 35)
	require.ErrorIs(t, err, survey.ErrBeyond)
	_, ok, err := v.OffsetAt(t.Context(), part(0), base+35_000)
	require.NoError(t, err)
	require.False(t, ok)
	times, err := v.Times(t.Context(), []id.Partition{part(0), part(1)}, []id.Offset{34, 0})
	require.NoError(t, err)
	require.Equal(t, []int64{base + 34_000, -1}, times)
}

func TestSealed(t *testing.T) {
	w := newWorld(t)
	sums, err := w.reader.SealedOf(t.Context(), []id.Partition{part(0), part(1), part(0)}, []id.Offset{0, 0, 12})
	require.NoError(t, err)
	require.Equal(t, []int64{20, 0, 10}, []int64{sums[0].Records, sums[1].Records, sums[2].Records})
	require.Equal(t, []int{2, 0, 1}, []int{sums[0].Segments, sums[1].Segments, sums[2].Segments})
	require.Equal(t, sums[0].Bytes, 2*sums[2].Bytes)
}

// TestFenced: what a fenced stream has in front of its fence counts.
func TestFenced(t *testing.T) {
	w := newWorld(t)
	_, err := wal.Fence(t.Context(), wal.Slots(w.table, now), 1)
	require.NoError(t, err)
	at, _ := w.look(t).Of(part(0))
	require.Equal(t, id.Offset(35), at.End)
}
