package oracle_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/oracle"
)

var (
	source = oracle.Partition{Topic: "s", Index: 0}
	other  = oracle.Partition{Topic: "s", Index: 1}
	copied = oracle.Partition{Topic: "copy", Index: 0}
)

// Numbers of the transactions of transacted.
const (
	committedTxn = 1 + iota
	abortedTxn
	unknownTxn
	copyTxn
)

// txnValue is value n of the producer that sends in transaction txn, 0 for none.
func txnValue(txn, n int) oracle.Value {
	return oracle.Value{Producer: 100 + txn, Sequence: int64(n)}
}

// sums tell what is written at an offset of a partition.
func entry(p oracle.Partition, offset int64, v oracle.Value) oracle.Record {
	return oracle.Record{Offset: offset, Value: v, Sum: uint64(len(p.Topic)*1000+int(p.Index)*100) + uint64(offset)}
}

// transacted is a history without an anomaly, of transactions on two partitions and a group
// that copies the first of them:
//
//	s-0:    0 plain, 1 committed, 2 aborted, 3 and 4 markers, 5 unknown, 6 plain, 7 marker
//	s-1:    0 committed, 1 aborted, 2 unknown, 3 to 5 markers
//	copy-0: 0 to 3 copies of offsets 0, 1, 5 and 6, 4 marker
//
// Transactions begin at 10 ms and are asked to end at 20 to 40 ms; readers come later.
func transacted() *oracle.History {
	h := &oracle.History{
		Groups: map[string][]string{"all": {"a1"}, "committed": {"c1"}}, Isolated: []string{"committed"},
		Txns: []oracle.Txn{
			{Span: span(10, 25), ID: "t1", Commit: oracle.OK, Asked: 20 * time.Millisecond, Timeout: time.Minute},
			{Span: span(10, 31), ID: "t2", Commit: oracle.Fail, Asked: 30 * time.Millisecond, Timeout: time.Minute},
			{Span: span(10, 90), ID: "t3", Commit: oracle.Info, Asked: 40 * time.Millisecond, Timeout: time.Minute},
			{Span: span(60, 75), ID: "copier", Commit: oracle.OK, Asked: 70 * time.Millisecond, Timeout: time.Minute},
		},
	}
	logs := map[oracle.Partition][]oracle.Record{}
	hidden := map[oracle.Value]bool{txnValue(abortedTxn, 0): true, txnValue(abortedTxn, 1): true}
	send := func(p oracle.Partition, offset int64, txn, n, at int, of *oracle.Value) {
		v := txnValue(txn, n)
		h.Sends = append(h.Sends, oracle.Send{Span: span(at, at+1), Value: v, Partition: p, Outcome: oracle.OK, Offset: offset, Txn: txn, Of: of})
		logs[p] = append(logs[p], entry(p, offset, v))
	}
	send(source, 0, 0, 0, 5, nil)
	send(source, 1, committedTxn, 0, 11, nil)
	send(source, 2, abortedTxn, 0, 13, nil)
	send(source, 5, unknownTxn, 0, 15, nil)
	send(source, 6, 0, 1, 17, nil)
	send(other, 0, committedTxn, 1, 12, nil)
	send(other, 1, abortedTxn, 1, 14, nil)
	send(other, 2, unknownTxn, 1, 16, nil)
	for n, of := range []oracle.Value{txnValue(0, 0), txnValue(committedTxn, 0), txnValue(unknownTxn, 0), txnValue(0, 1)} {
		send(copied, int64(n), copyTxn, n, 61+n, &of)
	}
	ends := map[oracle.Partition]int64{source: 8, other: 6, copied: 5}
	control := map[oracle.Partition][]int64{source: {3, 4, 7}, other: {3, 4, 5}, copied: {4}}
	for _, name := range []string{"as is", "wiped"} {
		for p, all := range logs {
			visible := slices.DeleteFunc(slices.Clone(all), func(r oracle.Record) bool { return hidden[r.Value] })
			h.Reads = append(h.Reads,
				oracle.Read{Name: name, Partition: p, End: ends[p], Records: slices.Clone(all), Control: control[p], Drained: true},
				oracle.Read{Name: name, Partition: p, End: ends[p], Records: visible, Drained: true, Committed: true, Stable: ends[p]})
		}
		h.Copies = append(h.Copies, oracle.Copy{Name: name, Group: "copiers", From: source, To: copied, Offset: 7})
	}
	for p, all := range logs {
		visible := slices.DeleteFunc(slices.Clone(all), func(r oracle.Record) bool { return hidden[r.Value] })
		h.Polls = append(h.Polls,
			oracle.Poll{Span: span(80, 100), Consumer: "a1", Assignment: 1, Partition: p, Records: slices.Clone(all)},
			oracle.Poll{Span: span(80, 100), Consumer: "c1", Assignment: 1, Partition: p, Records: visible, Committed: true})
	}
	return h
}

// committedReads applies f to the committed reads of a partition, those of a pass or, if it
// is empty, of all.
func committedReads(h *oracle.History, pass string, p oracle.Partition, f func(*oracle.Read)) {
	for i := range h.Reads {
		if r := &h.Reads[i]; r.Committed && r.Partition == p && (pass == "" || r.Name == pass) {
			f(r)
		}
	}
}

// reads applies f to the reads of all that is in a partition.
func reads(h *oracle.History, p oracle.Partition, f func(*oracle.Read)) {
	for i := range h.Reads {
		if r := &h.Reads[i]; !r.Committed && r.Partition == p {
			f(r)
		}
	}
}

// polls applies f to what a consumer was given of a partition.
func polls(h *oracle.History, consumer string, p oracle.Partition, f func(*oracle.Poll)) {
	for i := range h.Polls {
		if poll := &h.Polls[i]; poll.Consumer == consumer && poll.Partition == p {
			f(poll)
		}
	}
}

func without(list []oracle.Record, offset int64) []oracle.Record {
	return slices.DeleteFunc(list, func(r oracle.Record) bool { return r.Offset == offset })
}

// with puts an aborted record back where it is in the log.
func with(list []oracle.Record, p oracle.Partition, offset int64, v oracle.Value) []oracle.Record {
	list = append(slices.Clone(list), entry(p, offset, v))
	slices.SortFunc(list, func(a, b oracle.Record) int { return int(a.Offset - b.Offset) })
	return list
}

func runTransacted(t *testing.T, tests []test) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := transacted()
			test.spoil(h)
			found := oracle.Check(h)
			require.Equal(t, test.want, kinds(found), "%v", found)
		})
	}
}

func TestTransactions(t *testing.T) {
	runTransacted(t, []test{
		{"none", func(*oracle.History) {}, nil},
		{"a commit of unknown outcome did not happen", func(h *oracle.History) {
			forget(h, unknownTxn)
		}, nil},
		{"an aborted record is read as committed", func(h *oracle.History) {
			committedReads(h, "", other, func(r *oracle.Read) { r.Records = with(r.Records, other, 1, txnValue(abortedTxn, 1)) })
			polls(h, "c1", other, func(p *oracle.Poll) { p.Records = with(p.Records, other, 1, txnValue(abortedTxn, 1)) })
		}, []oracle.Kind{oracle.AbortedRead}},
		{"an aborted record is polled as committed", func(h *oracle.History) {
			polls(h, "c1", other, func(p *oracle.Poll) { p.Records = with(p.Records, other, 1, txnValue(abortedTxn, 1)) })
		}, []oracle.Kind{oracle.AbortedRead}},
		{"a record of unknown outcome is polled and was not committed", func(h *oracle.History) {
			forget(h, unknownTxn)
			polls(h, "c1", other, func(p *oracle.Poll) { p.Records = with(p.Records, other, 2, txnValue(unknownTxn, 1)) })
		}, []oracle.Kind{oracle.AbortedRead}},
		{"a committed record is missing for those who read what is committed", func(h *oracle.History) {
			committedReads(h, "", source, func(r *oracle.Read) { r.Records = without(r.Records, 1) })
			committedReads(h, "", other, func(r *oracle.Read) { r.Records = without(r.Records, 0) })
			committedReads(h, "", copied, func(r *oracle.Read) { r.Records = without(r.Records, 1) })
			delete(h.Groups, "committed")
			h.Polls, h.Copies = nil, nil
			delete(h.Groups, "all")
		}, []oracle.Kind{oracle.LostWrite, oracle.TornTransaction}},
		{"a plain record is missing for those who read what is committed", func(h *oracle.History) {
			committedReads(h, "", source, func(r *oracle.Read) { r.Records = without(r.Records, 0) })
			h.Copies = nil
		}, []oracle.Kind{oracle.LostWrite}},
		{"half a transaction is committed", func(h *oracle.History) {
			committedReads(h, "", other, func(r *oracle.Read) { r.Records = without(r.Records, 2) })
			polls(h, "c1", other, func(p *oracle.Poll) { p.Records = without(p.Records, 2) })
		}, []oracle.Kind{oracle.TornTransaction}},
		{"a transaction was committed in one read and not in the next", func(h *oracle.History) {
			committedReads(h, "wiped", source, func(r *oracle.Read) { r.Records = without(r.Records, 5) })
			committedReads(h, "wiped", other, func(r *oracle.Read) { r.Records = without(r.Records, 2) })
			h.Copies = h.Copies[:1]
		}, []oracle.Kind{oracle.ReadsDiffer}},
		{"the committed read has another record than the log", func(h *oracle.History) {
			committedReads(h, "", other, func(r *oracle.Read) { r.Records[0].Sum++ })
			polls(h, "c1", other, func(p *oracle.Poll) { p.Records = p.Records[:0] })
			delete(h.Groups, "committed")
		}, []oracle.Kind{oracle.InconsistentOffsets}},
		{"the committed read has a record that the log has not", func(h *oracle.History) {
			committedReads(h, "", other, func(r *oracle.Read) { r.Records = append(r.Records, entry(other, 5, txnValue(committedTxn, 1))) })
		}, []oracle.Kind{oracle.Duplicate, oracle.InconsistentOffsets}},
		{"a committed read goes back", func(h *oracle.History) {
			committedReads(h, "", other, func(r *oracle.Read) { slices.Reverse(r.Records) })
		}, []oracle.Kind{oracle.NonmonotonicPoll}},
		{"a committed read did not come to the end", func(h *oracle.History) {
			committedReads(h, "", other, func(r *oracle.Read) { r.Drained, r.Records = false, r.Records[:1] })
		}, []oracle.Kind{oracle.NotDrained}},
		{"a transaction hangs", func(h *oracle.History) {
			committedReads(h, "", other, func(r *oracle.Read) { r.Drained, r.Records, r.Stable = false, r.Records[:1], 2 })
		}, []oracle.Kind{oracle.HangingTransaction, oracle.NotDrained}},
		{"a fenced producer commits", func(h *oracle.History) {
			h.Txn(committedTxn).Fenced = span(15, 19)
		}, []oracle.Kind{oracle.ZombieCommit}},
		{"a producer commits while it is fenced", func(h *oracle.History) {
			h.Txn(committedTxn).Fenced = span(15, 21)
		}, nil},
	})
}

// forget makes a transaction one that was not committed.
func forget(h *oracle.History, txn int) {
	offsets := map[oracle.Partition]int64{}
	for _, s := range h.Sends {
		if s.Txn == txn {
			offsets[s.Partition] = s.Offset
		}
	}
	for p, offset := range offsets {
		committedReads(h, "", p, func(r *oracle.Read) { r.Records = without(r.Records, offset) })
		polls(h, "c1", p, func(p *oracle.Poll) { p.Records = without(p.Records, offset) })
	}
	v := txnValue(txn, 0) // and its copy has never been made
	dropCopy(h, v)
}

// dropCopy makes that a record was not copied, though what is behind it was.
func dropCopy(h *oracle.History, of oracle.Value) {
	i := slices.IndexFunc(h.Sends, func(s oracle.Send) bool { return s.Of != nil && *s.Of == of })
	s := h.Sends[i]
	h.Sends = slices.Delete(h.Sends, i, i+1)
	drop := func(r *oracle.Read) {
		r.Records, r.Control = without(r.Records, s.Offset), append(slices.Clone(r.Control), s.Offset)
	}
	reads(h, copied, drop)
	committedReads(h, "", copied, drop)
	for _, consumer := range []string{"a1", "c1"} {
		polls(h, consumer, copied, func(p *oracle.Poll) { p.Records = without(p.Records, s.Offset) })
	}
}

func TestLastStableOffset(t *testing.T) {
	early := func(consumer string, at int, records ...oracle.Record) func(*oracle.History) {
		return func(h *oracle.History) {
			h.Polls = append(h.Polls, oracle.Poll{
				Span: span(at-1, at), Consumer: consumer, Assignment: 2, Partition: source, Records: records, Committed: consumer != "a1",
			})
		}
	}
	plain, last := entry(source, 0, txnValue(0, 0)), entry(source, 6, txnValue(0, 1))
	runTransacted(t, []test{
		{"what is before every transaction is stable", early("c1", 18, plain), nil},
		{"readers of everything go on", early("a1", 18, last), nil},
		{"a plain record behind an open transaction is given away", early("c1", 19, last), []oracle.Kind{oracle.BeyondStable}},
		{"when all ends have been asked for it may be stable", early("c1", 41, last), nil},
		{"a record is given away before its commit is asked for", early("c1", 19, entry(source, 1, txnValue(committedTxn, 0))), []oracle.Kind{oracle.PrecommittedRead}},
		{"a transaction past its timeout is nobody's fault", func(h *oracle.History) {
			for _, n := range []int{committedTxn, abortedTxn, unknownTxn} {
				h.Txn(n).Timeout = 5 * time.Millisecond
			}
			early("c1", 19, last)(h)
		}, nil},
		{"a transaction whose producer is replaced may be over", func(h *oracle.History) {
			for _, n := range []int{committedTxn, abortedTxn, unknownTxn} {
				h.Txn(n).Fenced = oracle.Span{Invoked: 18 * time.Millisecond}
			}
			early("c1", 19, last)(h)
		}, nil},
		{"a committed record is left out", func(h *oracle.History) {
			polls(h, "c1", source, func(p *oracle.Poll) { p.Records = without(p.Records, 5) })
		}, []oracle.Kind{oracle.PollSkip}},
		{"a group did not get what was committed", func(h *oracle.History) {
			polls(h, "c1", other, func(p *oracle.Poll) { p.Records = without(p.Records, 0) })
		}, []oracle.Kind{oracle.Unseen}},
		{"a group that is to get everything did not get what was aborted", func(h *oracle.History) {
			polls(h, "a1", other, func(p *oracle.Poll) { p.Records = p.Records[2:] })
		}, []oracle.Kind{oracle.Unseen}},
	})
}

func TestCopies(t *testing.T) {
	again := func(of oracle.Value) func(*oracle.History) {
		return func(h *oracle.History) {
			v := oracle.Value{Producer: 200}
			h.Sends = append(h.Sends, oracle.Send{Span: span(70, 80), Value: v, Partition: copied, Outcome: oracle.Info, Of: &of})
			more := func(r *oracle.Read) { r.Records, r.End = append(r.Records, entry(copied, 5, v)), 6; r.Stable = r.End }
			reads(h, copied, more)
			committedReads(h, "", copied, more)
		}
	}
	runTransacted(t, []test{
		{"a record was copied twice", again(txnValue(committedTxn, 0)), []oracle.Kind{oracle.CopyTwice}},
		{"an aborted record was copied", again(txnValue(abortedTxn, 0)), []oracle.Kind{oracle.AbortedRead}},
		{"a record was not copied", func(h *oracle.History) {
			dropCopy(h, txnValue(0, 0))
		}, []oracle.Kind{oracle.CopyLost}},
		{"the group's offset is behind what was copied", func(h *oracle.History) {
			for i := range h.Copies {
				h.Copies[i].Offset = 6
			}
		}, []oracle.Kind{oracle.CopyTwice}},
		{"the group's offset is gone", func(h *oracle.History) {
			h.Copies[1].Offset = -1
		}, []oracle.Kind{oracle.CopyTwice}},
		{"copies changed places", func(h *oracle.History) {
			var first, second *oracle.Send
			for i := range h.Sends {
				if s := &h.Sends[i]; s.Txn == copyTxn && s.Offset == 0 {
					first = s
				} else if s.Txn == copyTxn && s.Offset == 1 {
					second = s
				}
			}
			first.Of, second.Of = second.Of, first.Of
		}, []oracle.Kind{oracle.CopyOrder}},
		{"the group has not copied to the end", func(h *oracle.History) {
			dropCopy(h, txnValue(0, 1))
			for i := range h.Copies {
				h.Copies[i].Offset = 6
			}
		}, nil},
	})
}
