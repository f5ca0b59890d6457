package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// The anomalies of logs from which records may go.
const (
	CameBack  Kind = "came-back"  // a record is read that an earlier whole read had not found any more
	StartBack Kind = "start-back" // a log start is lower than it was
	OldValue  Kind = "old-value"  // the older value of a key is behind the newer one of the same producer
)

// Rules say what may go from the logs of a topic.
type Rules struct {
	// Age is how old a record must be to go by its time; 0: none goes by it.
	Age time.Duration
	// Bytes is what must be left of a log when records go for its size; 0: none goes for it.
	Bytes int64
	// Compacted says that a record may go when a later one has its key.
	Compacted bool
}

// timestampUnit is by how much the time in a record may be before that of its send.
const timestampUnit = 2 * time.Millisecond

// CheckLife finds every anomaly in a history of logs from which records may go, by rules for
// each topic. Its sends have keys and sizes and belong to no transaction. Its reads have
// their times and are in order; a read may have been made while others sent, and must then hold
// what had been acknowledged before it began. Each send was made once, to one partition, and its
// key is read with its value: who reads a value with another key notes it as bad.
func CheckLife(h *History, rules map[string]Rules) []Anomaly {
	c := newChecker(h)
	for _, p := range c.partitions {
		c.checkSends(p)
		var before *Read
		for _, r := range c.parts[p].reads {
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

// checkLifeOf looks at one read by itself.
func (c *checker) checkLifeOf(p Partition, r *Read, rules Rules) {
	last, seen := int64(-1), map[Value]int64{}
	newest, sequences := map[string]int64{}, map[string]int64{} // by key; and by key and producer
	for _, rec := range r.Records {
		if rec.Offset <= last {
			c.add(NonmonotonicPoll, p, "the read %s has offset %d after %d", r.Name, rec.Offset, last)
		}
		last = rec.Offset
		s := c.known(p, rec, "the read "+r.Name)
		if s == nil {
			continue
		}
		if at, ok := seen[rec.Value]; ok {
			c.add(Duplicate, p, "the read %s has %s at offsets %d and %d", r.Name, rec.Value, at, rec.Offset)
			continue
		}
		seen[rec.Value], newest[s.Key] = rec.Offset, rec.Offset
		of := fmt.Sprintf("%d of %s", rec.Value.Producer, s.Key)
		if high, ok := sequences[of]; ok && rec.Value.Sequence < high {
			c.add(OldValue, p, "the read %s has %s at offset %d, behind sequence %d of the same producer and key", r.Name, rec.Value, rec.Offset, high)
		}
		sequences[of] = rec.Value.Sequence
	}
	if last < r.Start-1 && last >= 0 {
		c.add(StartBack, p, "the read %s ends at offset %d, before the log start %d", r.Name, last, r.Start)
	}
	may := c.mayGo(p, r.Completed, rules)
	for _, s := range c.parts[p].sends {
		if s.Outcome != OK || s.Completed >= r.Invoked {
			continue
		}
		at, ok := seen[s.Value]
		switch {
		case ok && at != s.Offset:
			c.add(InconsistentOffsets, p, "the read %s has %s at offset %d, it was acknowledged at %d", r.Name, s.Value, at, s.Offset)
		case ok || may(s):
		case rules.Compacted && newest[s.Key] > s.Offset:
		default:
			c.add(LostWrite, p, "%s of key %s was acknowledged at offset %d, at %s; the read %s from offset %d, ended at %s, does not have it, and it may not be gone",
				s.Value, s.Key, s.Offset, s.Completed, r.Name, r.Start, r.Completed)
		}
	}
}

// mayGo returns what tells whether retention may have removed a record by a time.
func (c *checker) mayGo(p Partition, by time.Duration, rules Rules) func(*Send) bool {
	first := int64(-1) // the first offset that must be there for its size
	if rules.Bytes > 0 {
		first = c.keptForSize(p, by, rules.Bytes)
	}
	return func(s *Send) bool {
		return rules.Age > 0 && s.Invoked+rules.Age <= by+timestampUnit || s.Offset < first
	}
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
