package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// checkSends looks at the offsets of what was acknowledged: one for each, rising with the
// sequences of a producer, and rising in time where one send began after another had ended.
func (c *checker) checkSends(p Partition) {
	var acked []*Send // in order of invocation
	at := map[int64]*Send{}
	for _, s := range c.parts[p].sends {
		if s.Outcome != OK {
			continue
		}
		acked = append(acked, s)
		if other := at[s.Offset]; other != nil {
			c.add(InconsistentOffsets, p, "%s and %s were both acknowledged at offset %d", other.Value, s.Value, s.Offset)
		}
		at[s.Offset] = s
	}
	bySequence := slices.Clone(acked)
	slices.SortFunc(bySequence, func(a, b *Send) int {
		return cmp.Or(cmp.Compare(a.Value.Producer, b.Value.Producer), cmp.Compare(a.Value.Sequence, b.Value.Sequence))
	})
	for i := 1; i < len(bySequence); i++ {
		if a, b := bySequence[i-1], bySequence[i]; a.Value.Producer == b.Value.Producer && a.Offset >= b.Offset {
			c.add(NonmonotonicSend, p, "%s was acknowledged at offset %d, %s of the same producer before it at %d", b.Value, b.Offset, a.Value, a.Offset)
		}
	}
	byEnd := slices.Clone(acked)
	slices.SortFunc(byEnd, func(a, b *Send) int { return cmp.Compare(a.Completed, b.Completed) })
	var highest *Send // of those that had ended
	for _, s := range acked {
		for len(byEnd) > 0 && byEnd[0].Completed < s.Invoked {
			if highest == nil || byEnd[0].Offset > highest.Offset {
				highest = byEnd[0]
			}
			byEnd = byEnd[1:]
		}
		if highest != nil && highest.Offset >= s.Offset {
			c.add(NonmonotonicSend, p, "%s, sent at %s, was acknowledged at offset %d; %s had been acknowledged at %d by %s",
				s.Value, s.Invoked, s.Offset, highest.Value, highest.Offset, highest.Completed)
		}
	}
}

// assignment is a partition in the hands of one consumer, without a break.
type assignment struct {
	consumer string
	number   int
}

// checkPolls looks at what consumers were given: what the log holds, when it could be there,
// in order and with nothing left out.
func (c *checker) checkPolls(p Partition) {
	part := c.parts[p]
	last := map[assignment]int64{}
	for _, poll := range part.polls {
		to := assignment{poll.Consumer, poll.Assignment}
		for _, r := range poll.Records {
			s := c.known(p, r, poll.Consumer)
			if s != nil && poll.Completed < s.Invoked {
				c.add(PrecommittedRead, p, "%s got %s at %s, it was sent at %s", poll.Consumer, r.Value, poll.Completed, s.Invoked)
			}
			if poll.Committed {
				c.checkDecided(p, poll, r, s)
			}
			c.inLog(p, poll, r)
			if before, ok := last[to]; ok {
				c.inOrder(p, poll, before, r.Offset)
			}
			last[to] = r.Offset
		}
	}
}

// visible is what a consumer must have been given, as far as the reads found it.
func (p *part) visible(committed bool) map[int64]Record {
	if committed {
		return p.committed
	}
	return p.log
}

// inLog compares a polled record with the log.
func (c *checker) inLog(p Partition, poll *Poll, r Record) {
	part := c.parts[p]
	have, ok := part.log[r.Offset]
	switch {
	case ok && have != r:
		c.add(InconsistentOffsets, p, "%s got %s (%x) at offset %d, where the log has %s (%x)", poll.Consumer, r.text(), r.Sum, r.Offset, have.text(), have.Sum)
	case ok || len(part.reads) == 0:
	case r.Offset > part.last && !part.reads[0].Drained: // not known
	case !part.reads[0].Compacted:
		c.add(PrecommittedRead, p, "%s got %s at offset %d, where the log has nothing", poll.Consumer, r.text(), r.Offset)
	}
}

// inOrder compares the offsets of two records that a consumer got one after the other.
func (c *checker) inOrder(p Partition, poll *Poll, before, offset int64) {
	if offset <= before {
		c.add(NonmonotonicPoll, p, "%s got offset %d after %d", poll.Consumer, offset, before)
		return
	}
	for missed := before + 1; missed < offset; missed++ {
		if r, ok := c.parts[p].visible(poll.Committed)[missed]; ok {
			c.add(PollSkip, p, "%s got offset %d after %d, and not %s at %d", poll.Consumer, offset, before, r.text(), missed)
		}
	}
}

// checkSeen looks for what was acknowledged and came to no member of a group.
func (c *checker) checkSeen(p Partition) {
	part := c.parts[p]
	for group, members := range c.groups {
		seen := map[Value]bool{}
		for _, poll := range part.polls {
			if !slices.Contains(members, poll.Consumer) {
				continue
			}
			for _, r := range poll.Records {
				seen[r.Value] = true
			}
		}
		for _, s := range part.sends {
			hidden := s.Txn > 0 && c.history.Txn(s.Txn).Commit != OK && slices.Contains(c.history.Isolated, group)
			if s.Outcome == OK && !seen[s.Value] && !hidden {
				c.add(Unseen, p, "%s was acknowledged at offset %d and came to no member of %s", s.Value, s.Offset, group)
			}
		}
	}
}

// checkCommits looks at the offsets that members of a group fetched: each must be one that
// was committed, and not followed by another commit that had ended by then. What a member
// commits is its own affair: it may be lower than what was committed before.
func (c *checker) checkCommits(p Partition) {
	groups := map[string][]*Commit{}
	for _, o := range c.parts[p].commits {
		groups[o.Group] = append(groups[o.Group], o)
	}
	for _, ops := range groups {
		for _, f := range ops {
			if f.Fetched {
				c.checkFetched(p, f, ops)
			}
		}
	}
}

// checkFetched compares a fetch with the commits of its group.
func (c *checker) checkFetched(p Partition, f *Commit, ops []*Commit) {
	var latest *Commit // of those that had ended before the fetch began, the last to begin
	for _, o := range ops {
		if !o.Fetched && o.Outcome == OK && o.Completed < f.Invoked && (latest == nil || o.Invoked > latest.Invoked) {
			latest = o
		}
	}
	if latest == nil && f.Offset == -1 {
		return
	}
	for _, o := range ops {
		if o.Fetched || o.Offset != f.Offset || o.Outcome == Fail || o.Invoked > f.Completed {
			continue
		}
		if latest == nil || o.Outcome == Info || o.Completed >= latest.Invoked {
			return
		}
	}
	before := "nothing had been committed"
	if latest != nil {
		before = fmt.Sprintf("%s had committed %d by %s", latest.Consumer, latest.Offset, latest.Completed.Round(time.Millisecond))
	}
	c.add(OffsetsBack, p, "%s of %s fetched offset %d after %s; %s", f.Consumer, f.Group, f.Offset, f.Invoked.Round(time.Millisecond), before)
}
