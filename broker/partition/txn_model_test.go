package partition_test

import (
	"cmp"
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
	"github.com/forebaylog/forebay/tiering/seal"
)

// txnModel tells of a log with transactions what there is to know, by a look at all of it.
// Producers 1 and 3 raise their epochs with each transaction, 0 and 2 do not.
type txnModel struct {
	log      []batch.View // stamped
	epoch    [4]int16
	sequence [4]int32
}

func (m *txnModel) end() id.Offset {
	if len(m.log) == 0 {
		return 0
	}
	return m.log[len(m.log)-1].NextOffset()
}

// ended lists the aborted transactions, and where those that are open began.
func (m *txnModel) ended() (aborted []producers.AbortedTxn, open map[id.Producer]id.Offset) {
	open = map[id.Producer]id.Offset{}
	for _, v := range m.log {
		p := v.ProducerID()
		first, known := open[p]
		switch {
		case v.IsControl():
			delete(open, p)
			if mark, _, err := batch.ParseMarker(v); err == nil && known && !mark.Commit {
				aborted = append(aborted, producers.AbortedTxn{Producer: p, First: first, Last: v.BaseOffset()})
			}
		case v.IsTransactional() && !known:
			open[p] = v.BaseOffset()
		}
	}
	return aborted, open
}

func (m *txnModel) stable() id.Offset {
	stable := m.end()
	_, open := m.ended()
	for _, first := range open {
		stable = min(stable, first)
	}
	return stable
}

// draw makes the next batch of the log and, if it is a marker, what there is to say of it.
func (m *txnModel) draw(t *rapid.T) (v batch.View, mark *partition.Marker) {
	p := id.Producer(rapid.Int64Range(0, 3).Draw(t, "producer"))
	switch kind := rapid.IntRange(0, 6).Draw(t, "kind"); {
	case kind == 0:
		return batchOf([]int64{5, 6}, id.NoProducer, -1, -1), nil
	case kind <= 2:
		mark := &partition.Marker{Marker: batch.Marker{Commit: rapid.Bool().Draw(t, "commit"), CoordinatorEpoch: 3}, Producer: p, Epoch: m.epoch[p], V2: p%2 == 1}
		_, open := m.ended()
		if _, is := open[p]; mark.V2 && (is || rapid.Bool().Draw(t, "not a repetition")) {
			mark.Epoch++
		}
		return batch.NewMarker(mark.Marker, p, mark.Epoch, 7), mark
	}
	n := rapid.IntRange(1, 3).Draw(t, "records")
	b := batch.New(batch.None).Producer(p, m.epoch[p], m.sequence[p]).Transactional()
	for range n {
		b.Add(batch.Record{Timestamp: 5, Key: []byte("k"), Value: make([]byte, 300)})
	}
	return b.Build(), nil
}

// add takes in what was appended.
func (m *txnModel) add(v batch.View) {
	m.log = append(m.log, v)
	p := v.ProducerID()
	switch {
	case p == id.NoProducer:
	case v.IsControl() && v.ProducerEpoch() != m.epoch[p]:
		m.epoch[p], m.sequence[p] = v.ProducerEpoch(), 0
	case !v.IsControl():
		m.sequence[p] += v.Records()
	}
}

// check reads all of a log from everywhere, and holds what comes to the model.
func (m *txnModel) check(t *rapid.T, l *partition.Log) {
	w := l.Watermarks()
	require.Equal(t, m.end(), w.High)
	require.Equal(t, m.stable(), w.Stable)
	aborted, _ := m.ended()
	slices.SortFunc(aborted, func(a, b producers.AbortedTxn) int { return cmp.Compare(a.First, b.First) })
	size := rapid.SampledFrom([]int{1, 200, 1000, 1 << 20}).Draw(t, "read size")
	for from := id.Offset(0); from <= m.end(); from++ {
		f, err := l.Read(context.Background(), from, size, true)
		require.NoError(t, err)
		if len(f.Batches) == 0 {
			require.GreaterOrEqual(t, from, w.Stable)
			require.Empty(t, f.Aborted)
			continue
		}
		upto := batch.View(f.Batches[len(f.Batches)-1]).NextOffset()
		require.LessOrEqual(t, upto, w.Stable)
		var want []producers.AbortedTxn
		for _, txn := range aborted {
			if txn.First < upto && txn.Last >= from {
				want = append(want, txn)
			}
		}
		var got []producers.AbortedTxn
		for _, txn := range f.Aborted {
			txn.Stable = 0
			got = append(got, txn)
		}
		require.Equal(t, want, got, "of [%d, %d)", from, upto)
	}
}

// append appends what the model draws to a log.
func (m *txnModel) append(t *rapid.T, r *rig, l *partition.Log) {
	v, mark := m.draw(t)
	done := make(chan error, 1)
	settled := func(err error) { done <- err }
	if mark != nil {
		mark.Now, mark.Done = r.now, settled
		require.NoError(t, l.AppendMarker(*mark))
	} else {
		var guard partition.Guard
		if v.IsTransactional() {
			guard, _ = l.Verify(v, r.now, v.ProducerID()%2 == 1)
		}
		_, err := l.Append(partition.Append{Batch: v, Acks: partition.AcksAll, Now: r.now, Guard: guard, Done: settled})
		require.NoError(t, err)
	}
	require.NoError(t, <-done)
	if mark != nil {
		v.Stamp(m.end(), l.Watermarks().Epoch)
	}
	m.add(v)
}

// A node tells of transactions what a look at its whole log does, whatever of it is sealed,
// dropped from memory or recovered.
func TestTransactionsOfANode(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := startRig(t)
		defer r.stop()
		m := &txnModel{}
		// From the first restart on more than one hot segment goes into a pack and is dropped after it.
		r.segment, r.budget = 4<<10, rapid.SampledFrom([]int64{1, 6 << 10, 1 << 30}).Draw(rt, "hot budget")
		r.restart()
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 12).Draw(rt, "step") {
			case 0:
				r.seal()
			case 1:
				r.restart()
			default:
				m.append(rt, r, r.log(0))
			}
		}
		m.check(rt, r.log(0))
		r.seal()
		m.check(rt, r.log(0))
		r.restart()
		m.check(rt, r.log(0))
	})
}

// A new leader knows of transactions what the one before it did, whatever of the log is
// sealed, or sealed again from the WAL.
func TestTransactionsAfterTakeover(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := startClusterRig(t, 1)
		defer c.stop()
		m := &txnModel{}
		var run []batch.View
		cut := rapid.IntRange(0, 30).Draw(rt, "sealed")
		seq := uint64(0)
		for i := range rapid.IntRange(1, 60).Draw(rt, "batches") {
			v, _ := m.draw(rt)
			m.add(c.produce(0, v))
			run = append(run, v)
			if i == cut {
				c.link(map[int][]batch.View{0: m.log})
				if rapid.Bool().Draw(rt, "the WAL object is whole") {
					continue // the run of the WAL object begins below the chain's end
				}
				run = nil
			}
			if rapid.IntRange(0, 4).Draw(rt, "object ends") == 0 && len(run) > 0 {
				seq++
				c.commit("a", seq, map[int][]batch.View{0: run})
				run = nil
			}
		}
		if len(run) > 0 {
			seq++
			c.commit("a", seq, map[int][]batch.View{0: run})
		}
		require.NoError(rt, c.acquire(&metalog.Tail{Session: "a", Through: seq}))
		m.check(rt, c.log(0))
		for range rapid.IntRange(0, 10).Draw(rt, "more") {
			m.append(rt, &c.rig, c.log(0))
		}
		m.check(rt, c.log(0))
		for _, a := range c.set.Adoptions() {
			adopted, err := c.sealer.Adopt(context.Background(), []seal.Adoption{seal.Adoption(a)})
			require.NoError(rt, err)
			c.set.SealedTo(a.Partition, adopted[0].End)
		}
		m.check(rt, c.log(0))
		c.seal()
		m.check(rt, c.log(0))
	})
}
