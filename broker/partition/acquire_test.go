package partition_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/seal"
)

// one is the runs of an object with batches of partition 0.
func one(vs ...batch.View) map[int][]batch.View { return map[int][]batch.View{0: vs} }

func TestAcquire(t *testing.T) {
	for name, prepare := range map[string]func(c *clusterRig) *metalog.Tail{
		"nothing": func(*clusterRig) *metalog.Tail { return nil },
		"chain only": func(c *clusterRig) *metalog.Tail {
			c.link(one(c.plain(0, 1, 2), c.plain(0, 3)))
			c.link(one(c.plain(0, 4)))
			return &metalog.Tail{Session: "a", Through: 7}
		},
		"streams only": func(c *clusterRig) *metalog.Tail {
			c.commit("a", 1, one(c.plain(0, 1, 2), c.plain(0, 3)))
			c.commit("a", 1, one(c.plain(0, 4)))
			c.commit("a", 2, map[int][]batch.View{1: {c.plain(1, 5)}})
			c.commit("a", 3, map[int][]batch.View{0: {c.plain(0, 5)}, 1: {c.plain(1, 6)}})
			return &metalog.Tail{Session: "a", Through: 3}
		},
		"chain and stream": func(c *clusterRig) *metalog.Tail {
			c.link(one(c.plain(0, 1, 2)))
			c.commit("a", 4, one(c.plain(0, 3), c.plain(0, 4)))
			return &metalog.Tail{Session: "a", Through: 4}
		},
		"runs that straddle the chain's end": func(c *clusterRig) *metalog.Tail {
			v := []batch.View{c.plain(0, 1, 2), c.plain(0, 3), c.plain(0, 4), c.plain(0, 5), c.plain(0, 6)}
			c.link(one(v[:3]...))
			c.commit("a", 1, one(v[0]))
			c.commit("a", 2, one(v[1], v[2], v[3]))
			c.commit("a", 3, one(v[4]))
			return &metalog.Tail{Session: "a", Through: 3}
		},
		"all of the stream is sealed": func(c *clusterRig) *metalog.Tail {
			v := []batch.View{c.plain(0, 1, 2), c.plain(0, 3)}
			c.link(one(v...))
			c.commit("a", 1, one(v[0]))
			c.commit("a", 2, one(v[1]))
			return &metalog.Tail{Session: "a", Through: 2}
		},
		"several tails": func(c *clusterRig) *metalog.Tail {
			c.link(one(c.plain(0, 1)))
			c.commit("a", 1, one(c.plain(0, 2)))
			c.lead(3, &metalog.Tail{Session: "a", Through: 1})
			c.commit("b", 1, one(c.plain(0, 3)))
			c.lead(2, &metalog.Tail{Session: "b", Through: 1})
			c.commit("c", 9, one(c.plain(0, 4)))
			return &metalog.Tail{Session: "c", Through: 9}
		},
		"a session that led twice": func(c *clusterRig) *metalog.Tail {
			c.commit("a", 1, one(c.plain(0, 1)))
			c.lead(3, &metalog.Tail{Session: "a", Through: 1})
			v := c.plain(0, 2)
			c.commit("b", 1, one(v))
			c.link(one(c.lastOf(0, 2)...)) // sealed by b, with what a had
			c.lead(2, &metalog.Tail{Session: "b", Through: 1})
			c.commit("a", 2, one(c.plain(0, 3)))
			return &metalog.Tail{Session: "a", Through: 2}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClusterRig(t, 2)
			tail := prepare(c)
			_, open := c.set.Get(c.part(0))
			require.False(t, open, "another leads it")
			require.NoError(t, c.acquire(tail))
			require.Empty(t, c.set.Missing())
			for i := range 2 {
				l := c.whole(i)
				before := c.next[c.part(i)]
				got := c.putPlain(l, 99)
				require.Equal(t, before, got.Base, "appends follow")
				offsets, _ := c.readFrom(l, 0)
				require.Len(t, offsets, int(before)+1)
			}
		})
	}
}

// lastOf returns all batches of a partition so far, of which there must be n.
func (c *clusterRig) lastOf(i, n int) []batch.View {
	var all []batch.View
	for rest := c.want[c.part(i)]; len(rest) > 0; {
		v, more, err := batch.Parse(rest)
		require.NoError(c.t, err)
		all, rest = append(all, v), more
	}
	require.Len(c.t, all, n)
	return all
}

// TestAcquireStopsAtTheTail: what a stream has behind it counts for nothing.
func TestAcquireStopsAtTheTail(t *testing.T) {
	c := newClusterRig(t, 1)
	c.commit("a", 1, one(c.plain(0, 1)))
	end, want := c.next[c.part(0)], len(c.want[c.part(0)])
	c.commit("a", 2, one(c.plain(0, 2)))
	c.next[c.part(0)], c.want[c.part(0)] = end, c.want[c.part(0)][:want]
	require.NoError(t, c.acquire(&metalog.Tail{Session: "a", Through: 1}))
	c.whole(0)
}

// TestAcquireGap: a partition of which something is missing is not opened; the others are.
func TestAcquireGap(t *testing.T) {
	c := newClusterRig(t, 2)
	c.commit("a", 1, map[int][]batch.View{0: {c.plain(0, 1)}, 1: {c.plain(1, 1)}})
	lost := c.plain(0, 2)
	c.commit("a", 3, map[int][]batch.View{0: {c.plain(0, 3)}, 1: {c.plain(1, 2)}})
	err := c.acquire(&metalog.Tail{Session: "a", Through: 3})
	require.ErrorIs(t, err, partition.ErrGap)
	require.ErrorContains(t, err, "offsets 1 to 2")
	require.ErrorContains(t, err, "slot 3")
	_, open := c.set.Get(c.part(0))
	require.False(t, open)
	c.whole(1)

	claims := c.set.Missing()
	require.Len(t, claims, 1)
	require.Equal(t, c.part(0), claims[0].Partition)
	require.True(t, c.set.Held(c.part(0)), "nothing of it may be sealed meanwhile")
	c.link(one(append(c.lastOf(0, 3)[:1:1], lost)...)) // it turns up in the chain
	require.NoError(t, c.set.Acquire(context.Background(), claims))
	c.whole(0)
}

// TestAcquireWithoutAStream: nothing is opened, and all is claimed again.
func TestAcquireWithoutAStream(t *testing.T) {
	c := newClusterRig(t, 2)
	c.commit("a", 1, one(c.plain(0, 1)))
	boom := errors.New("table out of reach")
	c.streamed = func(id.Session) error { return boom }
	err := c.acquire(&metalog.Tail{Session: "a", Through: 1})
	require.ErrorIs(t, err, boom)
	require.ErrorContains(t, err, "session a")
	require.Len(t, c.set.Missing(), 2)
	c.streamed = nil
	require.NoError(t, c.set.Acquire(context.Background(), c.set.Missing()))
	c.whole(0)
}

// TestAcquireWithADamagedStream: only those wait whose records it may have.
func TestAcquireWithADamagedStream(t *testing.T) {
	c := newClusterRig(t, 3)
	c.commit("a", 1, one(c.plain(0, 1)))
	c.commit("b", 1, map[int][]batch.View{1: {c.plain(1, 1)}})
	c.commit("c", 1, map[int][]batch.View{2: {c.plain(2, 1)}})
	for i, s := range []id.Session{"a", "b", "c"} {
		c.fold(metalog.LeadersChanged{
			Changes: []metalog.LeaderChange{{Partition: c.part(i), Leader: node, Epoch: 1}}, Tail: &metalog.Tail{Session: s, Through: 1},
		})
	}
	boom := errors.New("slot damaged")
	c.streamed = func(s id.Session) error {
		if s == "c" {
			return nil
		}
		return boom
	}
	err := c.set.Acquire(context.Background(), c.set.Missing())
	require.ErrorIs(t, err, boom)
	require.ErrorContains(t, err, "2 of 3 partitions")
	require.NotContains(t, err.Error(), "session b", "one tells enough")
	c.whole(2)
	require.Len(t, c.set.Missing(), 2)
}

// TestAcquireOvertaken: the leadership moves on while a partition is recovered.
func TestAcquireOvertaken(t *testing.T) {
	c := newClusterRig(t, 1)
	c.commit("a", 1, one(c.plain(0, 1)))
	c.streamed = func(id.Session) error { c.lead(3, nil); return nil }
	require.NoError(t, c.acquire(&metalog.Tail{Session: "a", Through: 1}))
	require.Zero(t, c.set.Len())
}

// TestAcquireProducers: a retry of what an earlier leader has committed is known, whichever
// tier it is in.
func TestAcquireProducers(t *testing.T) {
	c := newClusterRig(t, 1)
	send := func(sequence int32) batch.View { return c.produce(0, batchOf([]int64{1}, 7, 0, sequence)) }
	c.link(one(send(0), send(1)))
	c.commit("a", 1, one(send(2)))
	c.commit("a", 2, one(send(3), send(4)))
	require.NoError(t, c.acquire(&metalog.Tail{Session: "a", Through: 2}))
	l := c.whole(0)
	for sequence := range int32(5) {
		got := c.put(l, batchOf([]int64{1}, 7, 0, sequence))
		require.True(t, got.Duplicate)
		require.Equal(t, id.Offset(sequence), got.Base)
	}
	require.False(t, c.put(l, batchOf([]int64{1}, 7, 0, 5)).Duplicate)
}

// adoptedRig is a log in all tiers: [0, 3) sealed, [3, 6) adopted, straddling, and [6, 8) hot.
func adoptedRig(t *testing.T) *clusterRig {
	c := newClusterRig(t, 1)
	c.lead(2, nil) // epoch 1
	sealed := []batch.View{c.plain(0, 10, 30), c.plain(0, 20)}
	c.link(one(sealed...))
	c.lead(2, nil) // epoch 2
	c.commit("a", 1, one(sealed[1], c.plain(0, 50)))
	c.lead(3, &metalog.Tail{Session: "a", Through: 1}) // epoch 3
	c.commit("b", 1, one(c.plain(0, 40), c.plain(0, 70)))
	require.NoError(t, c.acquire(&metalog.Tail{Session: "b", Through: 1})) // epoch 4
	l := c.whole(0)
	c.putPlain(l, 60)
	c.putPlain(l, 65)
	return c
}

// lookUps requires of a log of adoptedRig what every look-up says.
func (c *clusterRig) lookUps() {
	t, l, ctx := c.t, c.log(0), context.Background()
	t.Helper()
	for _, q := range []struct {
		ts   int64
		want id.Offset
		is   int64
	}{{0, 0, 10}, {11, 1, 30}, {31, 3, 50}, {51, 5, 70}, {70, 5, 70}} {
		got, ok, err := l.FindTime(ctx, q.ts, 8)
		require.NoError(t, err)
		require.True(t, ok, "time %d", q.ts)
		require.Equal(t, q.want, got.Offset, "time %d", q.ts)
		require.Equal(t, q.is, got.Timestamp)
	}
	_, ok, err := l.FindTime(ctx, 71, 8)
	require.NoError(t, err)
	require.False(t, ok)
	greatest, ok, err := l.FindMaxTime(ctx, 8)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, partition.Found{Offset: 5, Timestamp: 70, Epoch: 3}, greatest)
	for _, q := range []struct {
		want, epoch id.Epoch
		end         id.Offset
	}{{1, 1, 3}, {2, 2, 4}, {3, 3, 6}, {4, 4, 8}, {5, -1, -1}} {
		epoch, end, err := l.EpochEnd(ctx, q.want)
		require.NoError(t, err)
		require.Equal(t, q.epoch, epoch, "epoch %d", q.want)
		require.Equal(t, q.end, end, "epoch %d", q.want)
	}
	offsets, _ := c.readFrom(l, 0)
	require.Len(t, offsets, 8)
}

func TestLookUpsInAdopted(t *testing.T) {
	c := adoptedRig(t)
	c.lookUps()
}

// sealAdopted seals what is adopted, and removes the WAL objects, as the broker that had
// them does once that is in the chain.
func (c *clusterRig) sealAdopted() {
	var list []seal.Adoption
	for _, a := range c.set.Adoptions() {
		list = append(list, seal.Adoption(a))
	}
	_, err := c.sealer.Adopt(context.Background(), list)
	require.NoError(c.t, err)
	for _, objects := range c.streams {
		for _, o := range objects {
			require.NoError(c.t, c.objects.Delete(context.Background(), o.Name))
		}
	}
}

// TestReleasedWhileItIsRead: an adopted object that is gone is in the chain by then, also for
// a log that has not been told.
func TestReleasedWhileItIsRead(t *testing.T) {
	c := adoptedRig(t)
	c.sealAdopted()
	require.NotEmpty(t, c.set.Adoptions())
	c.lookUps()
	c.set.SealedTo(c.part(0), 6)
	require.Empty(t, c.set.Adoptions())
	c.lookUps()
}

// TestReleasedBetweenTheLooks: the chain is empty when it is looked at, and by the time of the
// look at the WAL object that is sealed and gone.
func TestReleasedBetweenTheLooks(t *testing.T) {
	c := newClusterRig(t, 1)
	c.commit("a", 1, one(c.plain(0, 10)))
	require.NoError(t, c.acquire(&metalog.Tail{Session: "a", Through: 1}))
	c.beforeObject = c.sealAdopted
	got, ok, err := c.log(0).FindTime(context.Background(), 5, 1)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, partition.Found{Offset: 0, Timestamp: 10}, got)
	require.Nil(t, c.beforeObject)
}

// TestHeld: what is hot is not sealed before what comes before it.
func TestHeld(t *testing.T) {
	c := adoptedRig(t)
	p, other := c.part(0), id.Partition{Topic: id.NewTopic()}
	require.True(t, c.set.Held(p))
	require.False(t, c.set.Held(other))
	require.Equal(t, id.Offset(8), c.set.Committed(p))
	require.Zero(t, c.set.Committed(other))
	list := c.set.Adoptions()
	require.Len(t, list, 1)
	require.Equal(t, p, list[0].Partition)
	require.Len(t, list[0].Segments, 2)
	require.Equal(t, id.Offset(2), list[0].Segments[0].Base, "from within the run on")
	require.Equal(t, id.Offset(6), list[0].Segments[1].Next)

	for _, end := range []id.Offset{-1, 0, 3} {
		c.set.SealedTo(p, end)
		require.Len(t, c.set.Adoptions()[0].Segments, 2)
	}
	c.set.SealedTo(other, 100)
	c.sealAdopted()
	c.set.SealedTo(p, 4)
	require.Len(t, c.set.Adoptions()[0].Segments, 1)
	require.True(t, c.set.Held(p))
	c.set.SealedTo(p, 6)
	require.False(t, c.set.Held(p))
	c.seal()
	end, err := c.log(0).SealedEnd(context.Background())
	require.NoError(t, err)
	require.Equal(t, id.Offset(8), end)
	c.lookUps()
}

// TestFreeze: no appends, and what was appended becomes committed.
func TestFreeze(t *testing.T) {
	c := newClusterRig(t, 2)
	require.NoError(t, c.acquire(nil))
	l, ctx := c.log(0), context.Background()
	c.gate.open = make(chan struct{})
	done := make(chan error, 1)
	_, err := l.Append(partition.Append{Batch: batchOf([]int64{1}, id.NoProducer, -1, -1), Acks: partition.AcksAll, Now: c.now, Done: func(err error) { done <- err }})
	require.NoError(t, err)

	both := []id.Partition{c.part(1), c.part(0), {Topic: id.NewTopic()}}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	ready, err := c.set.Freeze(short, both)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, []id.Partition{c.part(1)}, ready)
	for i := range int32(2) {
		_, err = c.log(i).Append(partition.Append{Batch: batchOf([]int64{2}, id.NoProducer, -1, -1), Now: c.now})
		require.ErrorIs(t, err, partition.ErrMoving)
	}
	close(c.gate.open)
	ready, err = c.set.Freeze(ctx, both)
	require.NoError(t, err)
	require.Equal(t, []id.Partition{c.part(0), c.part(1)}, ready)
	require.NoError(t, <-done)
	require.Equal(t, id.Offset(1), l.Watermarks().High)
	ready, err = c.set.Freeze(ctx, both)
	require.NoError(t, err, "again")
	require.Len(t, ready, 2)

	c.set.Thaw(both)
	c.putPlain(l, 3)
	ready, err = c.set.Freeze(ctx, both)
	require.NoError(t, err)
	require.Len(t, ready, 2)
	require.Equal(t, id.Offset(2), l.Watermarks().End)
}

// TestApplyHigherEpoch: others may have led the partition in between, so the log is closed and
// recovered anew.
func TestApplyHigherEpoch(t *testing.T) {
	c := newClusterRig(t, 1)
	require.NoError(t, c.acquire(nil))
	l := c.log(0)
	fired := make(chan struct{})
	require.True(t, l.Register(partition.NewWait(1, time.Hour, func() { close(fired) }), 0, false))
	c.set.Apply(c.image)
	require.NoError(t, l.CheckEpoch(-1), "the same epoch changes nothing")

	c.lead(3, nil)
	c.commit("b", 1, one(c.plain(0, 1)))
	c.lead(node, &metalog.Tail{Session: "b", Through: 1})
	c.set.Apply(c.image)
	<-fired
	require.ErrorIs(t, l.CheckEpoch(-1), partition.ErrClosed)
	_, err := l.Append(partition.Append{Batch: batchOf([]int64{1}, id.NoProducer, -1, -1), Now: c.now})
	require.ErrorIs(t, err, partition.ErrClosed)
	_, open := c.set.Get(c.part(0))
	require.False(t, open, "not before it is recovered")
	require.NoError(t, c.set.Acquire(context.Background(), c.set.Missing()))
	again := c.whole(0)
	require.NotSame(t, l, again)
	require.Equal(t, id.Offset(1), c.putPlain(again, 2).Base)
	require.NoError(t, again.CheckEpoch(3))
}

// TestNeverLed: a partition of a new topic needs no recovery.
func TestNeverLed(t *testing.T) {
	c := newClusterRig(t, 1)
	p := id.NewTopic()
	c.fold(metalog.TopicCreated{Name: "new", ID: p, Partitions: []metalog.Assignment{{Leader: node, Replicas: []id.Broker{node}}}})
	require.Empty(t, c.set.Missing())
	l, open := c.set.Get(id.Partition{Topic: p})
	require.True(t, open)
	require.Zero(t, c.putPlain(l, 1).Base)
}

// TestEpochsOfAStraddlingRun: those that began below the chain's end began where they did.
func TestEpochsOfAStraddlingRun(t *testing.T) {
	c := newClusterRig(t, 1)
	c.lead(2, nil)
	v := []batch.View{c.plain(0, 1, 2)}
	c.lead(2, nil)
	v = append(v, c.plain(0, 3), c.plain(0, 4))
	c.link(one(v[:2]...))
	c.commit("a", 1, one(v...))
	require.NoError(t, c.acquire(&metalog.Tail{Session: "a", Through: 1}))
	for want, end := range map[id.Epoch]id.Offset{0: 0, 1: 2, 2: 4} {
		_, got, err := c.whole(0).EpochEnd(context.Background(), want)
		require.NoError(t, err)
		require.Equal(t, end, got, "epoch %d", want)
	}
}

// TestAcquireTailsOfOneSession: of two partitions with tails in one stream, that of the one
// reaches no farther because the other's does.
func TestAcquireTailsOfOneSession(t *testing.T) {
	c := newClusterRig(t, 2)
	c.commit("a", 1, one(c.plain(0, 1)))
	end, want := c.next[c.part(0)], len(c.want[c.part(0)])
	c.commit("a", 2, map[int][]batch.View{0: {c.plain(0, 2)}, 1: {c.plain(1, 1)}})
	c.next[c.part(0)], c.want[c.part(0)] = end, c.want[c.part(0)][:want]
	for i := range 2 {
		c.fold(metalog.LeadersChanged{
			Changes: []metalog.LeaderChange{{Partition: c.part(i), Leader: node, Epoch: 1}},
			Tail:    &metalog.Tail{Session: "a", Through: uint64(i + 1)},
		})
	}
	require.NoError(t, c.set.Acquire(context.Background(), c.set.Missing()))
	c.whole(0)
	c.whole(1)
}
