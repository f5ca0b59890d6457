package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/offsets"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/wal"
)

const (
	writer   = id.Session("AAAAAAAAAAAAAAAAAAAAAA")
	merged   = "packs/merged.pack"
	first    = "packs/first.pack"
	second   = "packs/second.pack"
	wal1     = "wal/" + string(writer) + "/1.pack"
	wal2     = "wal/" + string(writer) + "/2.pack"
	index    = "wal/" + string(writer) + "/3.index"
	identify = "cluster-id"
)

// world is the stores of a cluster whose only broker is off:
//
//	events-0  [0,20) in merged; spare: [10,20) in second
//	events-1  [0,10) in first, [10,15) in wal2
//	orders-0  [0,10) in first
//
// and [0,10) of events-0 in first, which counts no more, and [20,25) of it in wal1.
type world struct {
	control, offsets *kv.Mem
	objects          *objstore.Mem
	cluster          string
	events, orders   id.Topic
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{control: kv.NewMem(), offsets: kv.NewMem(), objects: objstore.NewMem(), events: id.NewTopic(), orders: id.NewTopic()}
	log, err := metalog.Open(t.Context(), metalog.Options{Store: w.control, Objects: w.objects})
	require.NoError(t, err)
	w.cluster = log.Image().ClusterID()
	lead := metalog.Assignment{Leader: 1, Replicas: []id.Broker{1}}
	w.update(t, log,
		metalog.BrokerRegistered{ID: 1, Incarnation: writer},
		metalog.TopicCreated{Name: "events", ID: w.events, Partitions: []metalog.Assignment{lead, lead}},
		metalog.TopicCreated{Name: "orders", ID: w.orders, Partitions: []metalog.Assignment{lead}},
	)
	require.NoError(t, log.Snapshot(t.Context()))
	require.NoError(t, log.Close(t.Context()))
	w.put(t, identify, []byte(w.cluster))

	w.seal(t, first, run{w.event(0), 0, 10}, run{w.event(1), 0, 10}, run{w.order(), 0, 10})
	w.seal(t, second, run{w.event(0), 10, 20})
	footer, size := w.pack(t, merged, run{w.event(0), 0, 20})
	chains := chain.Open(w.control)
	items, err := chains.Items(t.Context(), w.event(0))
	require.NoError(t, err)
	require.NoError(t, chains.Replace(t.Context(), w.event(0), items, chain.SegmentOf(&footer.Runs[0], merged, size)))

	_, size1 := w.pack(t, wal1, run{w.event(0), 20, 25})
	w.slot(t, 1, wal.Slot{Objects: []wal.ObjectRef{{Name: wal1, Size: size1}}})
	indexSize := w.index(t, index, wal1)
	_, size2 := w.pack(t, wal2, run{w.event(1), 10, 15})
	w.slot(t, 2, wal.Slot{Objects: []wal.ObjectRef{{Name: wal2, Size: size2}}, Index: &wal.ObjectRef{Name: index, Size: indexSize}})

	groups := offsets.Open(w.offsets, offsets.Sole)
	require.NoError(t, groups.Commit(t.Context(), "g", 0, []offsets.Entry{{Topic: w.events, TopicName: "events", Offset: 7, LeaderEpoch: -1}}))
	return w
}

func (w *world) event(n int32) id.Partition { return id.Partition{Topic: w.events, Index: n} }
func (w *world) order() id.Partition        { return id.Partition{Topic: w.orders} }

// change appends records to the metadata log.
func (w *world) change(t *testing.T, records ...metalog.Record) {
	t.Helper()
	log, err := metalog.Open(t.Context(), metalog.Options{Store: w.control, Objects: w.objects})
	require.NoError(t, err)
	w.update(t, log, records...)
	require.NoError(t, log.Close(t.Context()))
}

func (w *world) update(t *testing.T, log *metalog.Log, records ...metalog.Record) {
	t.Helper()
	_, err := log.Update(t.Context(), func(*metalog.Image) ([]metalog.Record, error) { return records, nil })
	require.NoError(t, err)
}

type run struct {
	p          id.Partition
	base, next id.Offset
}

// pack stores a pack with runs of batches of five records.
func (w *world) pack(t *testing.T, name string, runs ...run) (*pack.Footer, int64) {
	t.Helper()
	var b bytes.Buffer
	out := pack.NewWriter(&b, pack.Header{Cluster: w.cluster, Node: 1, Created: time.UnixMilli(1)})
	for _, r := range runs {
		require.NoError(t, out.BeginRun(r.p))
		for at := r.base; at < r.next; at += 5 {
			v := batch.New(batch.None).Base(at)
			for range 5 {
				v.Add(batch.Record{Value: []byte("some value")})
			}
			require.NoError(t, out.Append(v.Build()))
		}
		require.NoError(t, out.EndRun(nil, nil))
	}
	footer, err := out.Close()
	require.NoError(t, err)
	size := int64(b.Len())
	w.put(t, name, b.Bytes())
	return footer, size
}

// seal stores a pack and appends its runs to their chains.
func (w *world) seal(t *testing.T, name string, runs ...run) {
	t.Helper()
	footer, size := w.pack(t, name, runs...)
	var links []chain.Link
	for i := range footer.Runs {
		links = append(links, chain.Link{Partition: footer.Runs[i].Partition, Segment: chain.SegmentOf(&footer.Runs[i], name, size)})
	}
	for _, err := range chain.Open(w.control).Append(t.Context(), links) {
		require.NoError(t, err)
	}
}

func (w *world) slot(t *testing.T, seq uint64, s wal.Slot) {
	t.Helper()
	s.Version = 1
	payload, err := json.Marshal(s)
	require.NoError(t, err)
	require.NoError(t, wal.Slots(w.control, writer).Append(t.Context(), seq, payload))
}

// index stores an index of one object, as tiering/wal/FORMAT.md says.
func (w *world) index(t *testing.T, name, object string) int64 {
	t.Helper()
	raw := w.get(t, object)
	tail, err := pack.Tail(raw)
	require.NoError(t, err)
	le := binary.LittleEndian
	b := append([]byte("FBAYWIDX"), 1, 0, 0, 0)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, 1)
	b = le.AppendUint64(b, uint64(len(raw)))
	b = le.AppendUint16(b, uint16(len(object)))
	b = append(b, object...)
	b = le.AppendUint32(b, uint32(len(tail)))
	b = append(b, tail...)
	b = le.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	w.put(t, name, b)
	return int64(len(b))
}

func (w *world) put(t *testing.T, name string, b []byte) {
	t.Helper()
	require.NoError(t, w.objects.Put(t.Context(), name, bytes.NewReader(b)))
}

func (w *world) get(t *testing.T, name string) []byte {
	t.Helper()
	info, err := w.objects.Stat(t.Context(), name)
	require.NoError(t, err)
	b := make([]byte, info.Size)
	_, err = w.objects.ReadAt(t.Context(), name, b, 0)
	if err != nil {
		require.ErrorIs(t, err, io.EOF)
	}
	return b
}

func (w *world) remove(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, w.objects.Delete(t.Context(), name))
}

// flip changes one bit of an object.
func (w *world) flip(t *testing.T, name string, bit int) {
	t.Helper()
	b := w.get(t, name)
	b[bit/8] ^= 1 << (bit % 8)
	w.remove(t, name)
	w.put(t, name, b)
}

func (w *world) item(t *testing.T, wr kv.Write) {
	t.Helper()
	require.NoError(t, w.control.Write(t.Context(), wr)[0].Err)
}

func (w *world) config() Config {
	return Config{Control: w.control, Offsets: w.offsets, Objects: w.objects}
}

func (w *world) run(t *testing.T) *Report {
	t.Helper()
	return w.runWith(t.Context(), t, w.config())
}

func (w *world) runWith(ctx context.Context, t *testing.T, cfg Config) *Report {
	t.Helper()
	r, err := Run(ctx, cfg)
	require.NoError(t, err)
	return r
}
