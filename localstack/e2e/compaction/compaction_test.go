//go:build e2e

package compaction_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// Three passes over a log to which all kinds of producers have written: what Kafka's log cleaner
// leaves and what package compact leaves is the same.
func TestSameAsKafka(t *testing.T) {
	k := startKafka(t)
	for name, retention := range map[string]time.Duration{"at-once": 0, "later": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			k := &kafka{t: t, node: k.node}
			k.topic(name, retention)
			in := newInput(k, name)
			ours := newForebay(t)
			next := id.Offset(0)
			for round := range 4 {
				end := in.round(round)
				written := k.batches(name, next)
				for len(written) > 0 && written[0].BaseOffset() < end {
					n := min(1+len(written)/3, len(written))
					for n > 1 && written[n-1].BaseOffset() >= end {
						n--
					}
					ours.seal(written[:n])
					written, next = written[n:], written[n-1].NextOffset()
				}
				require.Equal(t, end, next)
				k.clean(name, end)
				stats := ours.compact(retention)
				require.Equal(t, end, stats.CleanedTo)
				compare(t, below(k.batches(name, 0), end), ours.batches())
				require.Equal(t, k.consumed(name, end), ours.consumed())
				t.Logf("round %d: %d of %d records stay, %d of %d bytes", round,
					stats.MessagesRetained, stats.MessagesRead, stats.BytesRetained, stats.BytesRead)
			}
		})
	}
}

func below(vs []batch.View, end id.Offset) []batch.View {
	for i, v := range vs {
		if v.BaseOffset() >= end {
			return vs[:i]
		}
	}
	return vs
}

// compare requires the same batches. Kafka keeps empty ones, and markers longer, for the sake of its
// producers' state; a horizon is a time, which differs.
func compare(t *testing.T, theirs, ours []batch.View) {
	t.Helper()
	data := func(vs []batch.View) (data []batch.View, markers map[id.Offset]bool) {
		markers = map[id.Offset]bool{}
		for _, v := range vs {
			switch {
			case v.Records() == 0:
			case v.IsControl():
				markers[v.BaseOffset()] = true
			default:
				data = append(data, v)
			}
		}
		return data, markers
	}
	want, wantMarkers := data(theirs)
	got, gotMarkers := data(ours)
	require.Subset(t, wantMarkers, gotMarkers)
	require.Equal(t, describe(t, want), describe(t, got))
	for i, v := range want {
		if _, ok := v.DeleteHorizon(); !ok && v.Codec() == batch.None {
			require.Equal(t, []byte(v), []byte(got[i]), "batch at offset %d", v.BaseOffset())
		}
	}
}

// describe tells all of the batches but where the horizon is.
func describe(t *testing.T, vs []batch.View) (lines []string) {
	t.Helper()
	for _, v := range vs {
		require.NoError(t, v.Verify())
		_, horizon := v.DeleteHorizon()
		lines = append(lines, fmt.Sprintf("%d to %d, epoch %d, attributes %x, horizon %t, producer %d %d, sequences %d to %d, max timestamp %d",
			v.BaseOffset(), v.LastOffset(), v.LeaderEpoch(), v.Attributes(), horizon, v.ProducerID(), v.ProducerEpoch(),
			v.BaseSequence(), v.LastSequence(), v.MaxTimestamp()))
		for r, err := range batch.Decode(v, 0) {
			require.NoError(t, err)
			lines = append(lines, fmt.Sprintf("%s at %d %q", line(r.Offset, r.Key, r.Value), r.Timestamp, fmt.Sprint(r.Headers)))
		}
	}
	return lines
}

// input writes to a topic.
type input struct {
	k     *kafka
	topic string
	rng   *rand.Rand
	now   time.Time
	plain []*kgo.Client // one for each codec, every other one idempotent
	txns  []*kgo.Client
}

func newInput(k *kafka, topic string) *input {
	in := &input{k: k, topic: topic, rng: rand.New(rand.NewPCG(1, 2)), now: time.Now()}
	codecs := []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
	}
	for i, codec := range codecs {
		opts := []kgo.Opt{
			kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20 * time.Millisecond),
			kgo.RecordPartitioner(kgo.ManualPartitioner()),
		}
		in.txns = append(in.txns, k.client(append(opts, kgo.TransactionalID(fmt.Sprint(topic, i)))...))
		if i%2 == 1 {
			opts = append(opts, kgo.DisableIdempotentWrite())
		}
		in.plain = append(in.plain, k.client(opts...))
	}
	return in
}

// records are some of few keys, one in five a tombstone.
func (in *input) records(n int) (rs []*kgo.Record) {
	for range n {
		in.now = in.now.Add(time.Millisecond)
		r := &kgo.Record{Timestamp: in.now, Key: fmt.Appendf(nil, "key %d", in.rng.IntN(60))}
		if in.rng.IntN(5) > 0 {
			r.Value = fmt.Appendf(nil, "value %d", in.rng.IntN(1e6))
		}
		if in.rng.IntN(3) == 0 {
			r.Headers = []kgo.RecordHeader{{Key: "trace", Value: fmt.Append(nil, in.rng.IntN(100))}, {Key: "empty"}}
		}
		rs = append(rs, r)
	}
	return rs
}

// round writes batches, and the record that begins a new segment, whose offset it returns.
func (in *input) round(n int) id.Offset {
	t := in.k.t
	t.Helper()
	for i := range 40 {
		ctx, rs := in.k.within(), in.records(1+in.rng.IntN(12))
		c := in.plain[i%len(in.plain)]
		if in.rng.IntN(2) == 0 {
			require.NoError(t, c.ProduceSync(ctx, rs...).FirstErr())
			continue
		}
		c = in.txns[in.rng.IntN(len(in.txns))]
		require.NoError(t, c.BeginTransaction())
		require.NoError(t, c.ProduceSync(ctx, rs...).FirstErr())
		require.NoError(t, in.plain[i%len(in.plain)].ProduceSync(ctx, in.records(2)...).FirstErr(), "between others' records")
		require.NoError(t, c.ProduceSync(ctx, in.records(2)...).FirstErr())
		require.NoError(t, c.EndTransaction(ctx, kgo.TransactionEndTry(in.rng.IntN(2) == 0)))
	}
	in.k.awaitMarkers(in.topic)
	in.now = in.now.Add(10 * time.Minute)
	r := in.records(1)[0]
	r.Key, r.Value = []byte("segment"), fmt.Append(nil, n)
	require.NoError(t, in.plain[0].ProduceSync(in.k.within(), r).FirstErr())
	return id.Offset(r.Offset)
}
