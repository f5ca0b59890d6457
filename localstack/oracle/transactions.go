package oracle

import (
	"cmp"
	"slices"
	"time"
)

// What the protocol allows, and is therefore no anomaly:
//
//   - A commit that was asked for and not answered, or answered with an error, has happened or has
//     not, but in all partitions and in the group's offsets alike. If it was never asked for, or
//     only by a producer whose transactional id another had been given before, it has not happened.
//   - A commit is answered when it is decided. The markers that show it to readers are written
//     after that, to one partition before the other: that a reader sees one half before
//     the other is no torn transaction. What the reads find when all is over is judged.
//   - A coordinator may abort a transaction at any time after its timeout, and the transaction
//     of a producer whose transactional id is asked for anew.
//   - Readers of all that is there see records of open and of aborted transactions.
//   - Before version 2 of transactions (KIP-890) a request that arrives late may put a record of
//     an aborted transaction into the next one of the same producer. Clients of version 2,
//     with which the histories are made, have another epoch then, so that this is an anomaly.

// decided is the earliest time at which the end of a transaction can have been decided.
func (t *Txn) decided() time.Duration {
	at := t.Invoked + t.Timeout
	if t.Asked > 0 {
		at = min(at, t.Asked)
	}
	if t.Fenced.Invoked > 0 {
		at = min(at, t.Fenced.Invoked)
	}
	return at
}

// txn returns the transaction of a send, nil if it has none.
func (c *checker) txn(s *Send) *Txn {
	if s == nil || s.Txn == 0 {
		return nil
	}
	return c.history.Txn(s.Txn)
}

// checkDecided checks that a record which a reader of what is committed was given could be committed.
func (c *checker) checkDecided(p Partition, poll *Poll, r Record, s *Send) {
	part := c.parts[p]
	switch t := c.txn(s); {
	case t == nil:
	case t.Commit == Fail:
		c.add(AbortedRead, p, "%s got %s of a transaction of %s that was not committed", poll.Consumer, s.Value, t.ID)
	case poll.Completed < t.Asked:
		c.add(PrecommittedRead, p, "%s got %s at %s, the commit of its transaction of %s was asked for at %s",
			poll.Consumer, s.Value, poll.Completed, t.ID, t.Asked)
	case len(part.isolated) > 0 && part.isolated[0].Drained && part.committed[r.Offset] != r:
		c.add(AbortedRead, p, "%s got %s at offset %d of a transaction of %s, and the committed read %s does not have it there",
			poll.Consumer, s.Value, r.Offset, t.ID, part.isolated[0].Name)
	}
}

// checkStable looks for polls of what is committed that went past the first record of a
// transaction before its end can have been decided.
func (c *checker) checkStable(p Partition) {
	type open struct {
		first *Send
		until time.Duration
	}
	byTxn := map[int]*open{}
	for _, s := range c.parts[p].sends {
		t := c.txn(s)
		if t == nil || s.Outcome != OK {
			continue
		}
		if have := byTxn[s.Txn]; have == nil {
			byTxn[s.Txn] = &open{s, t.decided()}
		} else if s.Offset < have.first.Offset {
			have.first = s
		}
	}
	txns := make([]*open, 0, len(byTxn))
	for _, o := range byTxn {
		txns = append(txns, o)
	}
	slices.SortFunc(txns, func(a, b *open) int {
		return cmp.Or(cmp.Compare(b.until, a.until), cmp.Compare(a.first.Offset, b.first.Offset))
	})
	var first *Send // of the transactions that were open at the end of a poll, going back in time
	for _, poll := range slices.Backward(c.parts[p].polls) {
		for len(txns) > 0 && txns[0].until > poll.Completed {
			if first == nil || txns[0].first.Offset < first.Offset {
				first = txns[0].first
			}
			txns = txns[1:]
		}
		if !poll.Committed || first == nil || len(poll.Records) == 0 {
			continue
		}
		if last := poll.Records[len(poll.Records)-1]; last.Offset > first.Offset {
			c.add(BeyondStable, p, "%s got offset %d at %s, while the transaction of %s at offset %d was open",
				poll.Consumer, last.Offset, poll.Completed, c.txn(first).ID, first.Offset)
		}
	}
}

// checkCommitted looks at the reads of what is committed: they must hold what the log holds
// but for records of transactions that were not committed.
func (c *checker) checkCommitted(p Partition) {
	part := c.parts[p]
	for i, r := range part.isolated {
		if !r.Drained {
			c.add(NotDrained, p, "the committed read %s ended before offset %d: %s", r.Name, r.End, r.Error)
		}
		if r.Stable < r.End {
			c.add(HangingTransaction, p, "at the end of the committed read %s the last stable offset is %d, and the log ends at %d", r.Name, r.Stable, r.End)
		}
		c.checkCommittedRead(p, r)
		if i > 0 {
			c.compare(p, part.isolated[0], r)
		}
	}
}

func (c *checker) checkCommittedRead(p Partition, r *Read) {
	part, who := c.parts[p], "the committed read "+r.Name
	found, last := make(map[Value]bool, len(r.Records)), int64(-1)
	for _, rec := range r.Records {
		if rec.Offset <= last {
			c.add(NonmonotonicPoll, p, "%s has offset %d after %d", who, rec.Offset, last)
		}
		last = rec.Offset
		s := c.known(p, rec, who)
		if t := c.txn(s); t != nil && t.Commit == Fail {
			c.add(AbortedRead, p, "%s has %s at offset %d of a transaction of %s that was not committed", who, rec.Value, rec.Offset, t.ID)
		}
		if found[rec.Value] {
			c.add(Duplicate, p, "%s has %s twice, the second time at offset %d", who, rec.text(), rec.Offset)
		}
		found[rec.Value] = true
		if have, ok := part.log[rec.Offset]; len(part.reads) > 0 && (ok && have != rec || !ok && part.reads[0].Drained) {
			c.add(InconsistentOffsets, p, "%s has %s (%x) at offset %d, where the log has %s (%x)", who, rec.text(), rec.Sum, rec.Offset, have.text(), have.Sum)
		}
	}
	for _, s := range part.sends {
		t := c.txn(s)
		if s.Outcome == OK && !found[s.Value] && (t == nil || t.Commit == OK) && (r.Drained || s.Offset < last) {
			c.add(LostWrite, p, "%s was acknowledged at offset %d and committed; %s does not have it", s.Value, s.Offset, who)
		}
	}
}

// checkTransactions looks for transactions of which one part is committed and another is not,
// in each pass of committed reads, and for those that a fenced producer committed.
func (c *checker) checkTransactions() {
	sends := make([][]*Send, len(c.history.Txns)+1)
	for i := range c.history.Sends {
		s := &c.history.Sends[i]
		sends[s.Txn] = append(sends[s.Txn], s)
	}
	passes := c.passes()
	for i := range c.history.Txns {
		t, of := &c.history.Txns[i], sends[i+1]
		if len(of) == 0 {
			continue
		}
		if t.Commit == OK && t.Fenced.Completed > 0 && t.Fenced.Completed < t.Asked {
			c.add(ZombieCommit, of[0].Partition, "a commit of %s was accepted that was asked for at %s; another producer had the transactional id at %s",
				t.ID, t.Asked, t.Fenced.Completed)
		}
		if t.Commit == Fail {
			continue // what is read of it is an aborted read
		}
		for name, pass := range passes {
			c.checkWhole(name, pass, t, of)
		}
	}
}

// pass is all that the committed reads of one name hold.
type pass struct {
	values map[Value]bool
	whole  map[Partition]bool // those that were read to the end
}

func (c *checker) passes() map[string]pass {
	all := map[string]pass{}
	for i := range c.history.Reads {
		r := &c.history.Reads[i]
		if !r.Committed {
			continue
		}
		in, ok := all[r.Name]
		if !ok {
			in = pass{map[Value]bool{}, map[Partition]bool{}}
			all[r.Name] = in
		}
		in.whole[r.Partition] = r.Drained
		for _, rec := range r.Records {
			in.values[rec.Value] = true
		}
	}
	return all
}

// checkWhole compares the records of a transaction.
func (c *checker) checkWhole(name string, in pass, t *Txn, sends []*Send) {
	var there, not *Send
	for _, s := range sends {
		switch {
		case in.values[s.Value]:
			there = s
		case s.Outcome == OK && in.whole[s.Partition]:
			not = s
		}
	}
	if there != nil && not != nil {
		c.add(TornTransaction, not.Partition, "of a transaction of %s the committed read %s has %s in %s and not %s in %s, which was acknowledged at offset %d",
			t.ID, name, there.Value, there.Partition, not.Value, not.Partition, not.Offset)
	}
}
