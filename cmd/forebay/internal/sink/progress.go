package sink

import "github.com/twmb/franz-go/pkg/kgo"

// progress follows one partition while this member has it: which records are settled, and so
// up to where its offset may be committed. Only the loop of a Sink uses it.
type progress struct {
	partition int32
	pending   []pending // not committed, in order
	first     int64     // sequence number of pending[0]
	next      int64     // offset that may be committed
	high      int64     // high watermark that was seen last
	top       int64     // highest sequence number that was ever sent, -1 if none
	waiting   int       // records that wait to be sent
	inFlight  int       // records that are being delivered
	leaving   bool      // it was taken away, or the sink ends: see queue.finish
}

func newProgress(partition int32) *progress { return &progress{partition: partition, top: -1} }

// pending is a record that was fetched.
type pending struct {
	offset  int64
	epoch   int32
	settled bool
}

// add notes a record and returns its sequence number in the partition.
func (p *progress) add(r *kgo.Record) int64 {
	if len(p.pending) == 0 {
		p.next = r.Offset
	}
	p.pending = append(p.pending, pending{offset: r.Offset, epoch: r.LeaderEpoch})
	return p.first + int64(len(p.pending)) - 1
}

// settle notes that a record was delivered or dead-lettered. It returns the offset to commit if
// that moves it: behind the last record that is settled with all before it.
func (p *progress) settle(sequence int64) (commit kgo.EpochOffset, moved bool) {
	p.pending[sequence-p.first].settled = true
	n := 0
	for n < len(p.pending) && p.pending[n].settled {
		n++
	}
	if n == 0 {
		return commit, false
	}
	last := p.pending[n-1]
	p.first += int64(n)
	p.pending = p.pending[n:]
	p.next = last.offset + 1
	return kgo.EpochOffset{Epoch: last.epoch, Offset: p.next}, true
}

// lag is how many offsets are behind what may be committed.
func (p *progress) lag() int64 { return max(p.high-p.next, 0) }
