package sink

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func keyed(partition int32, offset int64, key string) *kgo.Record {
	r := &kgo.Record{Topic: "orders", Partition: partition, Offset: offset, Value: []byte("0123456789")}
	if key != "" {
		r.Key = []byte(key)
	}
	return r
}

func offsets(batch []*entry) (list []int64) {
	for _, e := range batch {
		list = append(list, e.record.Offset)
	}
	return list
}

func TestQueueKeepsKeysInOrder(t *testing.T) {
	q, p := newQueue(2, 1000, 0), newProgress(0)
	for i, key := range []string{"a", "b", "a", "", "", "a"} {
		q.push(keyed(0, int64(i), key), p, epoch)
	}
	require.Equal(t, epoch, q.due(epoch))
	first := q.take() // both of the first lane that there is room for
	require.Equal(t, []int64{0, 2}, offsets(first))
	second := q.take()
	require.Equal(t, []int64{1, 3}, offsets(second), "a key in flight is passed by")
	require.Equal(t, []int64{4}, offsets(q.take()))
	require.Nil(t, q.take(), "the last record of key a waits for those before it")
	require.True(t, q.due(epoch).IsZero())

	first[0].settled = true
	first[1].retryAt = epoch.Add(time.Second)
	q.giveBack(first)
	require.Nil(t, q.take())
	require.Equal(t, epoch.Add(time.Second), q.due(epoch))
	require.False(t, q.due(epoch.Add(time.Second)).After(epoch.Add(time.Second)))
	require.Equal(t, []int64{2, 5}, offsets(q.take()))
}

func TestQueueWaitsForABatch(t *testing.T) {
	q, p := newQueue(3, 25, time.Second), newProgress(0)
	require.True(t, q.due(epoch).IsZero())
	q.push(keyed(0, 0, ""), p, epoch)
	require.Equal(t, epoch.Add(time.Second), q.due(epoch))
	q.push(keyed(0, 1, ""), p, epoch.Add(time.Millisecond))
	require.Equal(t, epoch.Add(time.Second), q.due(epoch.Add(time.Millisecond)))
	q.push(keyed(0, 2, ""), p, epoch)
	require.Equal(t, epoch, q.due(epoch), "it is full")
	require.Equal(t, []int64{0, 1}, offsets(q.take()), "25 bytes have room for two")
	require.Equal(t, []int64{2}, offsets(q.take()))
	large := keyed(0, 3, "")
	large.Value = make([]byte, 100)
	q.push(large, p, epoch)
	require.Equal(t, []int64{3}, offsets(q.take()), "a record that is too large goes alone")
}

// Records of a batch that was halved are not mixed with others.
func TestQueueHalves(t *testing.T) {
	q, p := newQueue(4, 1000, time.Hour), newProgress(0)
	for i := range 4 {
		q.push(keyed(0, int64(i), fmt.Sprint(i)), p, epoch)
	}
	batch := q.take()
	require.Len(t, batch, 4)
	for _, e := range batch {
		e.limit, e.retryAt = 2, epoch
	}
	q.push(keyed(0, 4, "4"), p, epoch)
	q.giveBack(batch)
	require.Equal(t, epoch, q.due(epoch))
	require.Equal(t, []int64{4}, offsets(q.take()), "the fresh record that was ready before")
	require.Equal(t, epoch, q.due(epoch), "they do not wait for more")
	require.ElementsMatch(t, []int64{0, 1, 2, 3}, append(offsets(q.take()), offsets(q.take())...))
}

// Of a partition that leaves only the gaps before what was sent are filled, and nothing is tried again.
func TestQueueFinishesAPartition(t *testing.T) {
	q, gone, stays := newQueue(2, 1000, 0), newProgress(0), newProgress(1)
	for i, key := range []string{"a", "b", "c", "d", "a", "b", "a"} {
		q.push(keyed(0, int64(i), key), gone, epoch)
	}
	q.push(keyed(1, 0, "a"), stays, epoch)
	first, second := q.take(), q.take()
	require.Equal(t, []int64{0, 4}, offsets(first))
	require.Equal(t, []int64{1, 5}, offsets(second))
	second[0].retryAt, second[1].retryAt = epoch, epoch
	q.finish(gone, true)
	require.Equal(t, 2+1, q.waiting, "2 and 3 lie before 5, 6 does not")
	first[0].settled, first[1].settled = true, true
	q.giveBack(first)
	q.giveBack(second)
	require.Equal(t, 3, q.waiting)
	require.ElementsMatch(t, []int64{0, 2, 3}, append(offsets(q.take()), offsets(q.take())...))
	require.Equal(t, []int{0, 2}, []int{gone.waiting, gone.inFlight})

	for i := range 4 {
		q.push(keyed(1, int64(i+1), "b"), stays, epoch)
	}
	q.finish(stays, false)
	require.Zero(t, q.waiting)
	require.Nil(t, q.take())
}

// Whatever comes of deliveries, no record of a key goes out before the one before it is settled or with
// it, each is settled once, limits hold, and the counts are those of what is there.
func TestQueueAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size, maxBytes := rapid.IntRange(1, 5).Draw(t, "size"), rapid.IntRange(5, 60).Draw(t, "bytes")
		q := newQueue(size, maxBytes, time.Duration(rapid.IntRange(0, 3).Draw(t, "window"))*time.Second)
		now, p := epoch, newProgress(0)
		var next int64
		settled, lastOf := map[int64]bool{}, map[int64]int64{} // the record before, of the same key
		last := map[string]int64{}
		var flying [][]*entry
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				key := rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "key")
				if before, ok := last[key]; ok && key != "" {
					lastOf[next] = before
				}
				q.push(keyed(0, next, key), p, now)
				last[key] = next
				next++
			case 1:
				at := q.due(now)
				if at.IsZero() || at.After(now) {
					break
				}
				batch := q.take()
				require.NotEmpty(t, batch, "what is due is there")
				bytes, seen := 0, map[int64]bool{}
				for _, e := range batch {
					require.LessOrEqual(t, len(batch), e.limit)
					require.False(t, settled[e.record.Offset])
					if before, ok := lastOf[e.record.Offset]; ok {
						require.True(t, settled[before] || seen[before], "%d before %d", e.record.Offset, before)
					}
					seen[e.record.Offset] = true
					bytes += e.bytes
				}
				require.True(t, bytes <= maxBytes || len(batch) == 1)
				flying = append(flying, batch)
			case 2:
				if len(flying) == 0 {
					break
				}
				i := rapid.IntRange(0, len(flying)-1).Draw(t, "which")
				batch := flying[i]
				flying = append(flying[:i], flying[i+1:]...)
				var stopped *lane
				for _, e := range batch {
					if e.lane == stopped || rapid.Bool().Draw(t, "fails") {
						stopped = e.lane
						e.limit = rapid.IntRange(1, e.limit).Draw(t, "limit")
						e.retryAt = now.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "pause")) * time.Second)
						continue
					}
					e.settled = true
					settled[e.record.Offset] = true
				}
				q.giveBack(batch)
			case 3:
				now = now.Add(time.Second)
			}
			checkCounts(t, q, p, int(next)-len(settled), flying)
		}
	})
}

func checkCounts(t *rapid.T, q *queue, p *progress, open int, flying [][]*entry) {
	for _, batch := range flying {
		open -= len(batch)
	}
	require.Equal(t, open, q.waiting)
	require.Equal(t, open*10, q.waitingBytes-keyBytes(q))
	count := 0
	for at := q.ready.Front(); at != nil; at = at.Next() {
		l, _ := at.Value.(*lane)
		require.NotEmpty(t, l.entries)
		count += len(l.entries)
	}
	require.Equal(t, count, q.count)
	require.Equal(t, q.waiting, p.waiting)
}

// keyBytes is what the keys of waiting records count for.
func keyBytes(q *queue) (n int) {
	for _, l := range q.lanes {
		n += len(l.entries) * len(l.key.key)
	}
	return n
}

func TestProgress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newProgress(0)
		p.high = 1000
		var offset int64
		var all []int64
		for range rapid.IntRange(1, 50).Draw(t, "n") {
			offset += int64(rapid.IntRange(1, 3).Draw(t, "gap")) // compaction leaves gaps
			require.Equal(t, int64(len(all)), p.add(&kgo.Record{Offset: offset, LeaderEpoch: 7}))
			all = append(all, offset)
		}
		done := make([]bool, len(all))
		for _, i := range rapid.Permutation(indexes(len(all))).Draw(t, "order") {
			done[i] = true
			n := 0
			for n < len(all) && done[n] {
				n++
			}
			commit, moved := p.settle(int64(i))
			require.Equal(t, i < n, moved)
			if moved {
				require.Equal(t, kgo.EpochOffset{Epoch: 7, Offset: all[n-1] + 1}, commit)
				require.Equal(t, 1000-commit.Offset, p.lag())
			}
		}
		require.Empty(t, p.pending)
	})
}

func indexes(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}
