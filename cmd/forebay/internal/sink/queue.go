package sink

import (
	"container/heap"
	"container/list"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// entry is a record on its way. While it is in flight the goroutine that delivers it owns it, else the queue.
type entry struct {
	record   *kgo.Record
	progress *progress
	sequence int64 // in its progress
	lane     *lane
	arrived  time.Time
	bytes    int       // that it counts for
	limit    int       // of the batch that it may be sent in
	attempts int       // that have failed for its own sake
	failures int       // of all kinds since it was last moved on
	settled  bool      // delivered or dead-lettered
	retryAt  time.Time // if it is not settled
}

// recordBytes is what a record counts for.
func recordBytes(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// laneKey is what must stay in order: a key of a partition.
type laneKey struct {
	partition int32
	key       string
}

// lane is the records of a key that wait, in order. It is in one place at a time: ready,
// sleeping until it may be tried again, or in flight.
type lane struct {
	key     laneKey
	keyed   bool
	entries []*entry
	bytes   int           // of these
	ready   *list.Element // in queue.ready
	wakes   time.Time
	index   int // in queue.sleeping, -1 if it is not
}

// queue is the records that wait, and decides which go next. It is pure: whoever calls it says what time it is.
type queue struct {
	size, maxBytes int           // of a batch
	window         time.Duration // that a batch may wait to be full

	lanes    map[laneKey]*lane // those with a key that wait or are in flight
	ready    *list.List        // of lanes, longest ready first
	sleeping sleepers

	waiting, waitingBytes int // entries that are not in flight
	count, bytes          int // those of ready lanes
}

func newQueue(size, maxBytes int, window time.Duration) *queue {
	return &queue{size: size, maxBytes: maxBytes, window: window, lanes: map[laneKey]*lane{}, ready: list.New()}
}

// push adds a record that was fetched.
func (q *queue) push(r *kgo.Record, p *progress, now time.Time) {
	e := &entry{record: r, progress: p, sequence: p.add(r), arrived: now, bytes: recordBytes(r), limit: q.size}
	key := laneKey{r.Partition, string(r.Key)}
	l := q.lanes[key]
	if r.Key == nil || l == nil { // a record without a key has a lane of its own
		l = &lane{key: key, keyed: r.Key != nil, index: -1}
		if l.keyed {
			q.lanes[key] = l
		}
		q.makeReady(l)
	}
	e.lane = l
	l.entries = append(l.entries, e)
	l.bytes += e.bytes
	q.waiting++
	q.waitingBytes += e.bytes
	p.waiting++
	if l.ready != nil {
		q.count++
		q.bytes += e.bytes
	}
}

func (q *queue) makeReady(l *lane) {
	l.ready = q.ready.PushBack(l)
	q.count += len(l.entries)
	q.bytes += l.bytes
}

func (q *queue) unready(l *lane) {
	q.ready.Remove(l.ready)
	l.ready = nil
	q.count -= len(l.entries)
	q.bytes -= l.bytes
}

// wake makes the lanes ready that may be tried again.
func (q *queue) wake(now time.Time) {
	for len(q.sleeping) > 0 && !q.sleeping[0].wakes.After(now) {
		l, _ := heap.Pop(&q.sleeping).(*lane)
		q.makeReady(l)
	}
}

// due returns when a batch may go: now or before if one may at once, and zero if only another
// record or the end of a delivery can make that so.
func (q *queue) due(now time.Time) time.Time {
	q.wake(now)
	var at time.Time
	if front := q.ready.Front(); front != nil {
		l, _ := front.Value.(*lane)
		if q.count >= q.size || q.bytes >= q.maxBytes || l.entries[0].limit < q.size {
			return now
		}
		at = l.entries[0].arrived.Add(q.window)
	}
	if len(q.sleeping) > 0 && (at.IsZero() || q.sleeping[0].wakes.Before(at)) {
		at = q.sleeping[0].wakes
	}
	return at
}

// take takes a batch out, nil if nothing is ready. Lanes go in the order in which they became
// ready, each with as many records as there is room for. The records of a batch have the same
// limit, so that those of a batch that failed meet no others.
func (q *queue) take() []*entry {
	front := q.ready.Front()
	if front == nil {
		return nil
	}
	first, _ := front.Value.(*lane)
	limit := first.entries[0].limit
	var batch []*entry
	bytes := 0
	for at := front; at != nil && len(batch) < limit && (bytes < q.maxBytes || len(batch) == 0); {
		l, _ := at.Value.(*lane)
		at = at.Next()
		n, before := 0, bytes
		for n < len(l.entries) && len(batch)+n < limit && l.entries[n].limit == limit {
			if bytes+l.entries[n].bytes > q.maxBytes && len(batch)+n > 0 {
				break
			}
			bytes += l.entries[n].bytes
			n++
		}
		if n == 0 {
			continue
		}
		q.unready(l)
		batch = append(batch, l.entries[:n]...)
		l.entries = l.entries[n:]
		l.bytes -= bytes - before
	}
	q.waiting -= len(batch)
	q.waitingBytes -= bytes
	for _, e := range batch {
		e.progress.waiting--
		e.progress.inFlight++
		e.progress.top = max(e.progress.top, e.sequence)
	}
	return batch
}

// giveBack ends the flight of a batch: what is not settled goes back to the front of its lane, which
// sleeps until the latest time that one of its records waits for. In a partition that is leaving
// nothing is tried again, and what comes behind it in its lane is not sent either.
func (q *queue) giveBack(batch []*entry) {
	for i := 0; i < len(batch); {
		l := batch[i].lane
		var back []*entry
		var until time.Time
		for ; i < len(batch) && batch[i].lane == l; i++ {
			e := batch[i]
			e.progress.inFlight--
			if e.settled {
				continue
			}
			back = append(back, e)
			if e.retryAt.After(until) {
				until = e.retryAt
			}
		}
		if len(back) > 0 && back[0].progress.leaving {
			q.cut(l, 0)
		} else if len(back) > 0 {
			q.putBack(l, back)
		}
		switch {
		case len(l.entries) == 0:
			q.forget(l)
		case len(back) > 0:
			l.wakes = until
			heap.Push(&q.sleeping, l)
		default:
			q.makeReady(l)
		}
	}
}

// putBack puts entries to the front of a lane that is nowhere.
func (q *queue) putBack(l *lane, back []*entry) {
	l.entries = append(back, l.entries...)
	q.waiting += len(back)
	back[0].progress.waiting += len(back)
	for _, e := range back {
		l.bytes += e.bytes
		q.waitingBytes += e.bytes
	}
}

// cut leaves the first n entries of a lane that is nowhere.
func (q *queue) cut(l *lane, n int) {
	for _, e := range l.entries[n:] {
		l.bytes -= e.bytes
		q.waitingBytes -= e.bytes
		q.waiting--
		e.progress.waiting--
	}
	l.entries = l.entries[:n]
}

func (q *queue) forget(l *lane) {
	if l.keyed && q.lanes[l.key] == l {
		delete(q.lanes, l.key)
	}
}

// finish has only those records of a partition sent any more that lie before one that was sent
// already, so that as much as possible of what was delivered can be committed. What has
// failed before is not tried again. Without send none of them is.
func (q *queue) finish(p *progress, send bool) {
	p.leaving = true
	var theirs []*lane
	for at := q.ready.Front(); at != nil; at = at.Next() {
		if l, _ := at.Value.(*lane); l.entries[0].progress == p {
			theirs = append(theirs, l)
		}
	}
	for _, l := range q.sleeping {
		if l.entries[0].progress == p {
			theirs = append(theirs, l)
		}
	}
	for _, l := range q.lanes { // in flight
		if l.ready == nil && l.index < 0 && len(l.entries) > 0 && l.entries[0].progress == p {
			q.cut(l, l.upTo(p.top, send))
		}
	}
	for _, l := range theirs {
		keep := 0
		if l.ready != nil {
			keep = l.upTo(p.top, send)
			q.unready(l)
		} else {
			heap.Remove(&q.sleeping, l.index)
		}
		q.cut(l, keep)
		if keep > 0 {
			q.makeReady(l)
		} else {
			q.forget(l)
		}
	}
}

// upTo counts the entries up to a sequence number, none if none shall be sent.
func (l *lane) upTo(top int64, send bool) (n int) {
	for send && n < len(l.entries) && l.entries[n].sequence <= top {
		n++
	}
	return n
}

// sleepers are lanes by the time they wake, a heap.
type sleepers []*lane

func (s sleepers) Len() int           { return len(s) }
func (s sleepers) Less(i, j int) bool { return s[i].wakes.Before(s[j].wakes) }

func (s sleepers) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

// Push implements heap.Interface.
func (s *sleepers) Push(x any) {
	l, _ := x.(*lane)
	l.index = len(*s)
	*s = append(*s, l)
}

// Pop implements heap.Interface.
func (s *sleepers) Pop() any {
	last := len(*s) - 1
	l := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	l.index = -1
	return l
}
