package oracle

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// The anomalies of logs from which records may go.
const (
	CameBack  Kind = "came-back"  // a record is read that an earlier whole read had not found any more
	StartBack Kind = "start-back" // a log start is lower than it was
	OldValue  Kind = "old-value"  // the older value of a key is behind the newer one of the same producer, or there without what hid it
	NotGone   Kind = "not-gone"   // a record is read that had to be gone
)

// Rules say what may go from the logs of a topic.
type Rules struct {
	// Age is how old a record must be to go by its time; 0: none goes by it.
	Age time.Duration
	// Late is by how much longer it may stay, until the time Until, when the rule ended; 0: for ever.
	Late, Until time.Duration
	// Bytes is what must be left of a log when records go for its size; 0: none goes for it.
	Bytes int64
	// Compacted says that a record may go when a later one has its key, and a tombstone when it
	// is as old as DeleteRetention.
	Compacted       bool
	DeleteRetention time.Duration
}

// timestampUnit is by how much the time in a record may be before that of its send.
const timestampUnit = 2 * time.Millisecond

// CheckLife finds every anomaly in a history of logs from which records may go, by rules for
// each topic. Its sends have keys and sizes. Its reads are of what is committed, have
// their times and are in order; a read may have been made while others sent, and must then hold
// what had been acknowledged, and committed, before it began and lies before its End. Each send was made
// once, to one partition, and its key is read with its value: who reads a value with another key notes it as bad.
func CheckLife(h *History, rules map[string]Rules) []Anomaly {
	c := newChecker(h)
	for _, p := range c.partitions {
		c.checkSends(p)
		var before *Read
		reads := slices.Concat(c.parts[p].reads, c.parts[p].isolated)
		slices.SortStableFunc(reads, func(a, b *Read) int { return cmp.Compare(a.Invoked, b.Invoked) })
		for _, r := range reads {
			if !r.Drained {
				c.add(NotDrained, p, "the read %s ended before offset %d: %s", r.Name, r.End, r.Error)
				continue
			}
			c.checkLifeOf(p, r, rules[p.Topic])
			if before != nil {
				c.checkGone(p, before, r)
			}
			before = r
		}
	}
	return c.found()
}

// lifeRead is what a read holds.
type lifeRead struct {
	*Read
	seen   map[Value]int64
	newest map[string]int64 // offset of the last of a key
}

// hidden reports whether of the key of s, which is not there, only older records are.
func (l *lifeRead) hidden(s *Send) bool {
	newest, ok := l.newest[s.Key]
	return ok && newest < s.Offset
}

// checkLifeOf looks at one read by itself.
func (c *checker) checkLifeOf(p Partition, r *Read, rules Rules) {
	if r.EndStart < r.Start {
		c.add(StartBack, p, "the log start was %d before the read %s, and %d after it", r.Start, r.Name, r.EndStart)
	}
	l := c.orderOf(p, r)
	may := c.mayGo(p, r, rules)
	hides := c.hiders(p, r, rules)
	for _, s := range c.parts[p].sends {
		at, ok := l.seen[s.Value]
		if ok {
			c.checkMustGo(p, r, s, rules)
		}
		if s.Outcome != OK || s.Completed >= r.Invoked {
			continue
		}
		if t := c.txn(s); t != nil && (t.Commit != OK || t.Completed >= r.Invoked || s.Offset >= r.End) {
			continue
		}
		switch {
		case ok && at != s.Offset:
			c.add(InconsistentOffsets, p, "the read %s has %s at offset %d, it was acknowledged at %d", r.Name, s.Value, at, s.Offset)
		case ok:
		case s.Tombstone && l.hidden(s) && s.Offset >= r.EndStart:
			c.add(OldValue, p, "the read %s has offset %d of key %s, and not the tombstone %s at offset %d that hides it", r.Name, l.newest[s.Key], s.Key, s.Value, s.Offset)
		case s.Offset < r.EndStart && may(s): // such records go with all that is before them
		case expired(s, r, rules) || hides(s) || rules.Compacted && l.newest[s.Key] > s.Offset:
		default:
			c.add(LostWrite, p, "%s of key %s was acknowledged at offset %d, at %s; the read %s from offset %d, ended at %s, does not have it, and it may not be gone",
				s.Value, s.Key, s.Offset, s.Completed, r.Name, r.Start, r.Completed)
		}
	}
}

// orderOf looks at the records of a read one after the other.
func (c *checker) orderOf(p Partition, r *Read) *lifeRead {
	l := &lifeRead{Read: r, seen: map[Value]int64{}, newest: map[string]int64{}}
	last, sequences := int64(-1), map[string]int64{} // by key and producer
	for _, rec := range r.Records {
		if rec.Offset <= last {
			c.add(NonmonotonicPoll, p, "the read %s has offset %d after %d", r.Name, rec.Offset, last)
		}
		last = rec.Offset
		s := c.known(p, rec, "the read "+r.Name)
		if s == nil {
			continue
		}
		c.checkDecidedBy(p, r, rec, s)
		if at, ok := l.seen[rec.Value]; ok {
			c.add(Duplicate, p, "the read %s has %s at offsets %d and %d", r.Name, rec.Value, at, rec.Offset)
			continue
		}
		l.seen[rec.Value], l.newest[s.Key] = rec.Offset, rec.Offset
		of := fmt.Sprintf("%d of %s", rec.Value.Producer, s.Key)
		if high, ok := sequences[of]; ok && rec.Value.Sequence < high {
			c.add(OldValue, p, "the read %s has %s at offset %d, behind sequence %d of the same producer and key", r.Name, rec.Value, rec.Offset, high)
		}
		sequences[of] = rec.Value.Sequence
	}
	if last < r.Start-1 && last >= 0 {
		c.add(StartBack, p, "the read %s ends at offset %d, before the log start %d", r.Name, last, r.Start)
	}
	return l
}

// checkDecidedBy checks that the transaction of a record that was read, if it has one, may have been committed by then.
func (c *checker) checkDecidedBy(p Partition, r *Read, rec Record, s *Send) {
	switch t := c.txn(s); {
	case t == nil:
	case t.Commit == Fail:
		c.add(AbortedRead, p, "the read %s has %s at offset %d of a transaction of %s that was not committed", r.Name, rec.Value, rec.Offset, t.ID)
	case t.Asked == 0 || t.Asked > r.Completed:
		c.add(PrecommittedRead, p, "the read %s, ended at %s, has %s at offset %d of a transaction of %s whose commit was asked for at %s", r.Name, r.Completed, rec.Value, rec.Offset, t.ID, t.Asked)
	}
}

// checkMustGo checks that a record that was read is not one that had to be gone before.
func (c *checker) checkMustGo(p Partition, r *Read, s *Send, rules Rules) {
	if by := s.Completed + rules.Age + rules.Late; rules.Age > 0 && rules.Late > 0 && s.Outcome == OK && by < min(r.Invoked, rules.Until) {
		c.add(NotGone, p, "%s was sent by %s and should be gone by %s; the read %s, begun at %s, has it", s.Value, s.Completed, by, r.Name, r.Invoked)
	}
	if s.Outcome != OK {
		return
	}
	for _, d := range c.history.Deletions {
		if d.Partition == p && d.Outcome == OK && d.Completed < r.Invoked && s.Offset < d.Offset {
			c.add(NotGone, p, "all before offset %d was deleted at %s; the read %s, begun at %s, has %s at offset %d", d.Offset, d.Completed, r.Name, r.Invoked, s.Value, s.Offset)
			return
		}
	}
}

// mayGo returns what tells whether retention or a deletion may have removed a record before a read was over.
func (c *checker) mayGo(p Partition, r *Read, rules Rules) func(*Send) bool {
	first := int64(-1) // the first offset that must be there for its size
	if rules.Bytes > 0 {
		first = c.keptForSize(p, r.Completed, rules.Bytes)
	}
	for _, d := range c.history.Deletions {
		if d.Partition == p && d.Outcome != Fail && d.Invoked <= r.Completed {
			first = max(first, d.Offset)
		}
	}
	return func(s *Send) bool {
		return rules.Age > 0 && s.Invoked+rules.Age <= r.Completed+timestampUnit || s.Offset < first
	}
}

// expired reports whether s is a tombstone that may have gone before a read was over.
func expired(s *Send, r *Read, rules Rules) bool {
	return s.Tombstone && rules.Compacted && rules.DeleteRetention > 0 && s.Invoked+rules.DeleteRetention <= r.Completed+timestampUnit
}

// hiders returns what tells whether a record may have been compacted away for the sake of a tombstone that may
// be gone itself.
func (c *checker) hiders(p Partition, r *Read, rules Rules) func(*Send) bool {
	last := map[string]int64{} // offset of the last such tombstone by key
	for _, s := range c.parts[p].sends {
		if s.Invoked > r.Completed || s.Outcome == Fail || !expired(s, r, rules) {
			continue
		}
		if t := c.txn(s); t != nil && t.Commit == Fail {
			continue
		}
		offset := s.Offset
		if s.Outcome != OK {
			offset = math.MaxInt64 // nobody knows where it is
		}
		last[s.Key] = max(last[s.Key], offset)
	}
	return func(s *Send) bool { return last[s.Key] > s.Offset }
}

// keptForSize returns the first offset behind which not even all that was sent by a time makes
// size bytes. What has no known offset counts as if it were the last.
func (c *checker) keptForSize(p Partition, by time.Duration, size int64) int64 {
	var acked []*Send
	var behind int64
	for _, s := range c.parts[p].sends {
		switch {
		case s.Invoked > by || s.Outcome == Fail:
		case s.Outcome == OK:
			acked = append(acked, s)
		default:
			behind += s.Size
		}
	}
	slices.SortFunc(acked, func(a, b *Send) int { return cmp.Compare(b.Offset, a.Offset) })
	for _, s := range acked {
		if behind >= size {
			return s.Offset + 1
		}
		behind += s.Size
	}
	return 0
}

// checkGone compares a read with the one before it: what was gone stays gone, what is there is
// the same, and the log start does not go back.
func (c *checker) checkGone(p Partition, before, r *Read) {
	if r.Start < before.Start {
		c.add(StartBack, p, "the log start is %d for the read %s, and was %d for the read %s before it", r.Start, r.Name, before.Start, before.Name)
	}
	had := make(map[int64]Record, len(before.Records))
	for _, rec := range before.Records {
		had[rec.Offset] = rec
	}
	for _, rec := range r.Records {
		old, ok := had[rec.Offset]
		switch {
		case ok && old != rec:
			c.add(ReadsDiffer, p, "offset %d is %s (%x) for the read %s and %s (%x) for the read %s",
				rec.Offset, old.text(), old.Sum, before.Name, rec.text(), rec.Sum, r.Name)
		case !ok && rec.Offset < before.End:
			c.add(CameBack, p, "%s at offset %d is there for the read %s, and was not for the read %s before it", rec.text(), rec.Offset, r.Name, before.Name)
		}
	}
}
