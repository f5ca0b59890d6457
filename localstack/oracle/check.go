package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Kind is a sort of anomaly.
type Kind string

// The anomalies.
const (
	LostWrite           Kind = "lost-write"           // acknowledged, and a read that went past it does not hold it
	Unseen              Kind = "unseen"               // acknowledged, and no read, or no member of a group, got so far
	Duplicate           Kind = "duplicate"            // sent once, in the log twice
	InconsistentOffsets Kind = "inconsistent-offsets" // an offset held one record for one client and another for another
	AbortedRead         Kind = "aborted-read"         // G1a: a record is read whose send failed
	PrecommittedRead    Kind = "precommitted-read"    // a record was polled that was not committed: not sent yet, or gone later
	PollSkip            Kind = "poll-skip"            // a consumer was not given a record between two that it was given
	NonmonotonicPoll    Kind = "nonmonotonic-poll"    // a consumer was given an offset again, or a lower one
	NonmonotonicSend    Kind = "nonmonotonic-send"    // a later send has a lower offset
	Gap                 Kind = "gap"                  // an offset is missing
	ReadsDiffer         Kind = "reads-differ"         // two reads of a partition are not the same bytes
	NotDrained          Kind = "not-drained"          // a read did not come to the end in its time
	UnknownValue        Kind = "unknown-value"        // a record holds what nobody sent
	OffsetsBack         Kind = "offsets-back"         // a member fetched an offset that was not the one committed last
	TornTransaction     Kind = "torn-transaction"     // some records of a transaction are committed, others of it are not
	BeyondStable        Kind = "beyond-stable"        // a reader of what is committed was given what lies behind an open transaction
	HangingTransaction  Kind = "hanging-transaction"  // the last stable offset does not reach the end of the log
	ZombieCommit        Kind = "zombie-commit"        // a producer that had been fenced could commit
	CopyLost            Kind = "copy-lost"            // a group has committed an offset and not copied what is before it
	CopyTwice           Kind = "copy-twice"           // a record was copied twice, or copied and not counted in the group's offset
	CopyOrder           Kind = "copy-order"           // copies of a partition are in another order
)

// Anomaly is something that must not be.
type Anomaly struct {
	Kind      Kind
	Partition Partition
	Detail    string
}

// String tells all of it in a line.
func (a Anomaly) String() string { return fmt.Sprintf("%s in %s: %s", a.Kind, a.Partition, a.Detail) }

// maxOfKind is how many anomalies of a kind are told one by one in each partition.
const maxOfKind = 10

// Check finds every anomaly in the history, those of a partition together. At most
// maxOfKind of a kind and partition are told one by one, the rest as a number.
func Check(h *History) []Anomaly {
	c := newChecker(h)
	for _, p := range c.partitions {
		c.checkReads(p)
		c.checkSends(p)
		c.checkPolls(p)
		c.checkSeen(p)
		c.checkCommits(p)
		c.checkCommitted(p)
		c.checkStable(p)
	}
	c.checkTransactions()
	c.checkCopies()
	return c.found()
}

// checker is one Check under way: the history, in order and by partition.
type checker struct {
	history    *History
	groups     map[string][]string
	partitions []Partition
	parts      map[Partition]*part
	sends      map[Value]*Send
	anomalies  []Anomaly
	counts     map[countOf]int
}

// part is what the history holds of one partition.
type part struct {
	sends   []*Send // in order of invocation
	polls   []*Poll // in order of completion
	commits []*Commit
	reads   []*Read          // of all that is there
	log     map[int64]Record // what the first of them found, by offset
	last    int64            // the last offset that it found, -1 if it found none

	isolated  []*Read          // of what is committed
	committed map[int64]Record // what the first of them found, by offset
}

type countOf struct {
	kind      Kind
	partition Partition
}

func newChecker(h *History) *checker {
	c := &checker{history: h, groups: h.Groups, parts: map[Partition]*part{}, sends: make(map[Value]*Send, len(h.Sends)), counts: map[countOf]int{}}
	for i := range h.Sends {
		s := &h.Sends[i]
		p := c.part(s.Partition)
		p.sends = append(p.sends, s)
		c.sends[s.Value] = s
	}
	for i := range h.Polls {
		p := c.part(h.Polls[i].Partition)
		p.polls = append(p.polls, &h.Polls[i])
	}
	for i := range h.Commits {
		p := c.part(h.Commits[i].Partition)
		p.commits = append(p.commits, &h.Commits[i])
	}
	for i := range h.Reads {
		p, r := c.part(h.Reads[i].Partition), &h.Reads[i]
		if !r.Committed {
			p.reads = append(p.reads, r)
			continue
		}
		if p.isolated = append(p.isolated, r); len(p.isolated) == 1 {
			for _, rec := range r.Records {
				p.committed[rec.Offset] = rec
			}
		}
	}
	for _, p := range c.parts {
		slices.SortStableFunc(p.sends, func(a, b *Send) int { return cmp.Compare(a.Invoked, b.Invoked) })
		slices.SortStableFunc(p.polls, func(a, b *Poll) int { return cmp.Compare(a.Completed, b.Completed) })
		slices.SortStableFunc(p.commits, func(a, b *Commit) int { return cmp.Compare(a.Invoked, b.Invoked) })
	}
	slices.SortFunc(c.partitions, func(a, b Partition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Index, b.Index))
	})
	return c
}

func (c *checker) part(p Partition) *part {
	have := c.parts[p]
	if have == nil {
		have = &part{log: map[int64]Record{}, last: -1, committed: map[int64]Record{}}
		c.parts[p] = have
		c.partitions = append(c.partitions, p)
	}
	return have
}

// add notes an anomaly.
func (c *checker) add(kind Kind, p Partition, format string, args ...any) {
	of := countOf{kind, p}
	if c.counts[of]++; c.counts[of] <= maxOfKind {
		c.anomalies = append(c.anomalies, Anomaly{kind, p, fmt.Sprintf(format, args...)})
	}
}

// found returns what was noted.
func (c *checker) found() []Anomaly {
	for _, p := range c.partitions {
		for of, n := range c.counts {
			if of.partition == p && n > maxOfKind {
				c.anomalies = append(c.anomalies, Anomaly{of.kind, p, fmt.Sprintf("and %d more", n-maxOfKind)})
			}
		}
	}
	slices.SortStableFunc(c.anomalies, func(a, b Anomaly) int {
		return cmp.Or(strings.Compare(a.Partition.Topic, b.Partition.Topic), cmp.Compare(a.Partition.Index, b.Partition.Index),
			strings.Compare(string(a.Kind), string(b.Kind)))
	})
	return c.anomalies
}

// known checks that a record holds a value that was sent to the partition and had not
// failed, and returns its send, or nil. who says which client read it.
func (c *checker) known(p Partition, r Record, who string) *Send {
	if r.Bad != "" {
		c.add(UnknownValue, p, "%s got %q at offset %d, which is no value", who, r.Bad, r.Offset)
		return nil
	}
	s := c.sends[r.Value]
	switch {
	case s == nil:
		c.add(UnknownValue, p, "%s got %s at offset %d, which nobody sent", who, r.Value, r.Offset)
	case s.Partition != p:
		c.add(UnknownValue, p, "%s got %s at offset %d, which was sent to %s", who, r.Value, r.Offset, s.Partition)
		return nil
	case s.Outcome == Fail:
		c.add(AbortedRead, p, "%s got %s at offset %d, whose send failed: %s", who, r.Value, r.Offset, s.Error)
	}
	return s
}
