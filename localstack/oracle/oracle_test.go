package oracle_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/oracle"
)

var part = oracle.Partition{Topic: "t", Index: 0}

func value(n int) oracle.Value { return oracle.Value{Producer: 1, Sequence: int64(n)} }

func span(from, to int) oracle.Span {
	return oracle.Span{Invoked: time.Duration(from) * time.Millisecond, Completed: time.Duration(to) * time.Millisecond}
}

// record is the record that value n makes.
func record(offset int64, n int) oracle.Record {
	return oracle.Record{Offset: offset, Value: value(n), Sum: uint64(n)}
}

func records(n int) []oracle.Record {
	var list []oracle.Record
	for i := range n {
		list = append(list, record(int64(i), i))
	}
	return list
}

const healthySends = 6

// healthy is a history without an anomaly. Value n is sent at n*10 ms and acknowledged at
// n*10+5 ms with offset n; one consumer of a group gets all in two polls; two reads are the same.
func healthy() *oracle.History {
	h := &oracle.History{Groups: map[string][]string{"g": {"c1", "c2"}}}
	for n := range healthySends {
		h.Sends = append(h.Sends, oracle.Send{Span: span(n*10, n*10+5), Value: value(n), Partition: part, Outcome: oracle.OK, Offset: int64(n)})
	}
	all := records(healthySends)
	h.Polls = []oracle.Poll{
		{Span: span(60, 70), Consumer: "c1", Assignment: 1, Partition: part, Records: slices.Clone(all[:3])},
		{Span: span(80, 90), Consumer: "c1", Assignment: 1, Partition: part, Records: slices.Clone(all[3:])},
	}
	h.Commits = []oracle.Commit{
		{Span: span(50, 51), Group: "g", Consumer: "c1", Partition: part, Offset: -1, Fetched: true, Outcome: oracle.OK},
		{Span: span(71, 72), Group: "g", Consumer: "c1", Partition: part, Offset: 3, Outcome: oracle.OK},
		{Span: span(91, 92), Group: "g", Consumer: "c1", Partition: part, Offset: 6, Outcome: oracle.OK},
	}
	for _, name := range []string{"as is", "wiped"} {
		h.Reads = append(h.Reads, oracle.Read{Name: name, Partition: part, End: healthySends, Records: slices.Clone(all), Drained: true})
	}
	return h
}

// kinds are the different kinds found, in order.
func kinds(anomalies []oracle.Anomaly) []oracle.Kind {
	set := map[oracle.Kind]bool{}
	for _, a := range anomalies {
		set[a.Kind] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// both applies f to both reads.
func both(h *oracle.History, f func(*oracle.Read)) {
	for i := range h.Reads {
		f(&h.Reads[i])
	}
}

// drop takes an offset out of a read.
func drop(offset int64) func(*oracle.Read) {
	return func(r *oracle.Read) {
		r.Records = slices.DeleteFunc(r.Records, func(rec oracle.Record) bool { return rec.Offset == offset })
	}
}

// test is a healthy history, spoilt, and what is to be found in it.
type test struct {
	name  string
	spoil func(*oracle.History)
	want  []oracle.Kind
}

func run(t *testing.T, tests []test) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := healthy()
			test.spoil(h)
			found := oracle.Check(h)
			require.Equal(t, test.want, kinds(found), "%v", found)
		})
	}
}

func TestWhatIsInTheLog(t *testing.T) {
	run(t, []test{
		{"none", func(*oracle.History) {}, nil},
		{"an acknowledged record is in no read", func(h *oracle.History) {
			both(h, drop(2))
			h.Polls[0].Records = h.Polls[0].Records[:2]
			h.Polls = append(h.Polls, oracle.Poll{Span: span(100, 101), Consumer: "c2", Assignment: 1, Partition: part, Records: []oracle.Record{record(2, 2)}})
		}, []oracle.Kind{oracle.Gap, oracle.LostWrite, oracle.PrecommittedRead}},
		{"an acknowledged record gave way to another", func(h *oracle.History) {
			h.Sends = append(h.Sends, oracle.Send{Span: span(9, 100), Value: value(99), Partition: part, Outcome: oracle.Info})
			both(h, func(r *oracle.Read) { r.Records[2] = record(2, 99) })
			h.Polls[0].Records[2] = record(2, 99)
			delete(h.Groups, "g")
		}, []oracle.Kind{oracle.LostWrite}},
		{"the end of the log is gone", func(h *oracle.History) {
			both(h, func(r *oracle.Read) { drop(5)(r); r.End = 5 })
			h.Polls[1].Records = h.Polls[1].Records[:2]
			delete(h.Groups, "g")
		}, []oracle.Kind{oracle.Unseen}},
		{"the group did not get the end", func(h *oracle.History) {
			h.Polls[1].Records = h.Polls[1].Records[:2]
		}, []oracle.Kind{oracle.Unseen}},
		{"a record is there twice", func(h *oracle.History) {
			both(h, func(r *oracle.Read) { r.Records = append(r.Records, record(6, 1)); r.End = 7 })
		}, []oracle.Kind{oracle.Duplicate}},
		{"two sends have one offset", func(h *oracle.History) {
			h.Sends = append(h.Sends, oracle.Send{Span: span(41, 300), Value: oracle.Value{Producer: 2}, Partition: part, Outcome: oracle.OK, Offset: 5})
			delete(h.Groups, "g")
		}, []oracle.Kind{oracle.InconsistentOffsets, oracle.Unseen}},
		{"acknowledged at another offset", func(h *oracle.History) {
			h.Sends[5].Offset = 7
		}, []oracle.Kind{oracle.InconsistentOffsets}},
		{"a consumer got another record than the log has", func(h *oracle.History) {
			h.Polls[0].Records[1] = record(1, 3)
			h.Groups["g"] = nil
			delete(h.Groups, "g")
		}, []oracle.Kind{oracle.InconsistentOffsets}},
		{"a consumer got other bytes", func(h *oracle.History) {
			h.Polls[0].Records[1].Sum++
		}, []oracle.Kind{oracle.InconsistentOffsets}},
	})
}

func TestWhatConsumersGet(t *testing.T) {
	run(t, []test{
		{"a failed send is read", func(h *oracle.History) {
			h.Sends[4].Outcome = oracle.Fail
		}, []oracle.Kind{oracle.AbortedRead}},
		{"a failed send is polled", func(h *oracle.History) {
			h.Sends[5].Outcome = oracle.Fail
			both(h, func(r *oracle.Read) { drop(5)(r); r.End = 5 })
		}, []oracle.Kind{oracle.AbortedRead, oracle.PrecommittedRead}},
		{"polled before it was sent", func(h *oracle.History) {
			h.Polls[0].Span = span(5, 9)
			h.Polls[0].Records = h.Polls[0].Records[:2]
			h.Polls[1].Records = records(6)[2:]
		}, []oracle.Kind{oracle.PrecommittedRead}},
		{"polled, and not in the log", func(h *oracle.History) {
			h.Sends[5].Outcome = oracle.Info
			both(h, func(r *oracle.Read) { drop(5)(r); r.End = 5 })
		}, []oracle.Kind{oracle.PrecommittedRead}},
		{"a consumer was not given a record", func(h *oracle.History) {
			h.Polls[1].Records = slices.Delete(h.Polls[1].Records, 1, 2)
			h.Polls = append(h.Polls, oracle.Poll{Span: span(100, 101), Consumer: "c2", Assignment: 1, Partition: part, Records: []oracle.Record{record(4, 4)}})
		}, []oracle.Kind{oracle.PollSkip}},
		{"a consumer was not given a record between two polls", func(h *oracle.History) {
			h.Polls[1].Records = h.Polls[1].Records[1:]
			h.Polls = append(h.Polls, oracle.Poll{Span: span(100, 101), Consumer: "c2", Assignment: 1, Partition: part, Records: []oracle.Record{record(3, 3)}})
		}, []oracle.Kind{oracle.PollSkip}},
		{"a consumer went on elsewhere after an assignment", func(h *oracle.History) {
			h.Polls[1].Assignment = 2
			h.Polls[1].Records = records(6)[2:]
		}, nil},
		{"a consumer was given a record twice", func(h *oracle.History) {
			h.Polls[1].Records = records(6)[2:]
		}, []oracle.Kind{oracle.NonmonotonicPoll}},
		{"a consumer was given records out of order", func(h *oracle.History) {
			r := h.Polls[1].Records
			r[0], r[1] = r[1], r[0]
		}, []oracle.Kind{oracle.NonmonotonicPoll, oracle.PollSkip}},
	})
}

func TestOrderAndReads(t *testing.T) {
	run(t, []test{
		{"a producer's records changed places", func(h *oracle.History) {
			h.Sends[3].Span, h.Sends[4].Span = span(30, 100), span(31, 100)
			h.Sends[3].Offset, h.Sends[4].Offset = 4, 3
			both(h, func(r *oracle.Read) { r.Records[3], r.Records[4] = record(3, 4), record(4, 3) })
			h.Polls[1].Records[0], h.Polls[1].Records[1] = record(3, 4), record(4, 3)
		}, []oracle.Kind{oracle.NonmonotonicSend}},
		{"sent after another was acknowledged, and before it in the log", func(h *oracle.History) {
			other := oracle.Value{Producer: 2}
			h.Sends[4].Value = other
			h.Sends[4].Span = span(80, 85) // after offset 5 was acknowledged
			for _, list := range [][]oracle.Record{h.Reads[0].Records, h.Reads[1].Records, h.Polls[1].Records} {
				for i := range list {
					if list[i].Offset == 4 {
						list[i].Value = other
					}
				}
			}
		}, []oracle.Kind{oracle.NonmonotonicSend}},
		{"an offset is missing", func(h *oracle.History) {
			h.Sends[2].Outcome = oracle.Info
			both(h, drop(2))
			h.Polls[0].Records = h.Polls[0].Records[:2]
		}, []oracle.Kind{oracle.Gap}},
		{"an offset is missing at the end", func(h *oracle.History) {
			both(h, func(r *oracle.Read) { r.End = 7 })
		}, []oracle.Kind{oracle.Gap}},
		{"control records and compaction leave no gap", func(h *oracle.History) {
			both(h, func(r *oracle.Read) { r.Control, r.End = []int64{6}, 7 })
			h.Reads[1].Compacted = true
		}, nil},
		{"the second read has other bytes", func(h *oracle.History) {
			h.Reads[1].Records[3].Sum++
		}, []oracle.Kind{oracle.ReadsDiffer}},
		{"the second read is shorter", func(h *oracle.History) {
			h.Sends[5].Outcome = oracle.Info
			drop(5)(&h.Reads[1])
			h.Reads[1].End = 5
		}, []oracle.Kind{oracle.ReadsDiffer}},
		{"the second read has an offset that the first has not", func(h *oracle.History) {
			h.Sends[5].Outcome = oracle.Info
			drop(5)(&h.Reads[0])
			h.Reads[0].End = 5
			h.Polls[1].Records = h.Polls[1].Records[:2]
		}, []oracle.Kind{oracle.ReadsDiffer}},
		{"a read did not come to the end", func(h *oracle.History) {
			h.Sends[5].Outcome = oracle.Info
			h.Polls[1].Records = h.Polls[1].Records[:2]
			both(h, func(r *oracle.Read) { drop(5)(r); r.Drained, r.Error = false, "deadline" })
		}, []oracle.Kind{oracle.NotDrained}},
		{"a read gives an offset twice", func(h *oracle.History) {
			r := &h.Reads[1]
			r.Records = slices.Insert(r.Records, 3, r.Records[2])
		}, []oracle.Kind{oracle.Duplicate, oracle.NonmonotonicPoll, oracle.ReadsDiffer}},
	})
}

func TestValuesAndGroups(t *testing.T) {
	run(t, []test{
		{"a value that nobody sent", func(h *oracle.History) {
			both(h, func(r *oracle.Read) { r.Records = append(r.Records, record(6, 77)); r.End = 7 })
		}, []oracle.Kind{oracle.UnknownValue}},
		{"a value of another partition", func(h *oracle.History) {
			h.Sends = append(h.Sends, oracle.Send{Span: span(1, 500), Value: value(77), Partition: oracle.Partition{Topic: "u"}, Outcome: oracle.Info})
			both(h, func(r *oracle.Read) { r.Records = append(r.Records, record(6, 77)); r.End = 7 })
		}, []oracle.Kind{oracle.NotDrained, oracle.UnknownValue}},
		{"bytes that are no value", func(h *oracle.History) {
			h.Sends[5].Outcome = oracle.Info
			bad := oracle.Record{Offset: 5, Bad: "p1-?"}
			both(h, func(r *oracle.Read) { r.Records[5] = bad })
			h.Polls[1].Records[2] = bad
		}, []oracle.Kind{oracle.UnknownValue}},
		{"a member fetched less than was committed", func(h *oracle.History) {
			h.Commits = append(h.Commits, oracle.Commit{Span: span(100, 101), Group: "g", Consumer: "c2", Partition: part, Offset: 3, Fetched: true, Outcome: oracle.OK})
		}, []oracle.Kind{oracle.OffsetsBack}},
		{"a committed offset is gone", func(h *oracle.History) {
			h.Commits = append(h.Commits, oracle.Commit{Span: span(100, 101), Group: "g", Consumer: "c2", Partition: part, Offset: -1, Fetched: true, Outcome: oracle.OK})
		}, []oracle.Kind{oracle.OffsetsBack}},
		{"a member fetched what was never committed", func(h *oracle.History) {
			h.Commits[0].Offset = 2
		}, []oracle.Kind{oracle.OffsetsBack}},
		{"a member fetched what another tried to commit later", func(h *oracle.History) {
			h.Commits = append(h.Commits,
				oracle.Commit{Span: span(100, 101), Group: "g", Consumer: "c2", Partition: part, Offset: 4, Fetched: true, Outcome: oracle.OK},
				oracle.Commit{Span: span(110, 111), Group: "g", Consumer: "c1", Partition: part, Offset: 4, Outcome: oracle.OK})
		}, []oracle.Kind{oracle.OffsetsBack}},
		{"a member fetched what was refused", func(h *oracle.History) {
			h.Commits = append(h.Commits,
				oracle.Commit{Span: span(95, 96), Group: "g", Consumer: "c1", Partition: part, Offset: 4, Outcome: oracle.Fail},
				oracle.Commit{Span: span(100, 101), Group: "g", Consumer: "c2", Partition: part, Offset: 4, Fetched: true, Outcome: oracle.OK})
		}, []oracle.Kind{oracle.OffsetsBack}},
		{"a member fetched what another group committed", func(h *oracle.History) {
			h.Commits = append(h.Commits, oracle.Commit{Span: span(100, 101), Group: "h", Consumer: "c2", Partition: part, Offset: 6, Fetched: true, Outcome: oracle.OK})
		}, []oracle.Kind{oracle.OffsetsBack}},
		{"a member fetched what was committed last, at once, or perhaps", func(h *oracle.History) {
			for i, offset := range []int64{6, 5, 4, 2} {
				h.Commits = append(h.Commits, oracle.Commit{Span: span(100+i, 110), Group: "g", Consumer: "c2", Partition: part, Offset: offset, Fetched: true, Outcome: oracle.OK})
			}
			h.Commits = append(h.Commits,
				oracle.Commit{Span: span(90, 130), Group: "g", Consumer: "c1", Partition: part, Offset: 5, Outcome: oracle.OK},
				oracle.Commit{Span: span(109, 131), Group: "g", Consumer: "c1", Partition: part, Offset: 4, Outcome: oracle.OK},
				oracle.Commit{Span: span(20, 21), Group: "g", Consumer: "c1", Partition: part, Offset: 2, Outcome: oracle.Info})
		}, nil},
		{"a member committed less than was committed before", func(h *oracle.History) {
			h.Commits = append(h.Commits,
				oracle.Commit{Span: span(100, 101), Group: "g", Consumer: "c2", Partition: part, Offset: 2, Outcome: oracle.OK},
				oracle.Commit{Span: span(110, 111), Group: "g", Consumer: "c1", Partition: part, Offset: 2, Fetched: true, Outcome: oracle.OK})
		}, nil},
	})
}

// A time-out that landed all the same, with its retry deduplicated, is no anomaly, and
// neither is one that did not land.
func TestInfoMayGoEitherWay(t *testing.T) {
	h := healthy()
	h.Sends[2].Outcome = oracle.Info
	h.Sends = append(h.Sends, oracle.Send{Span: span(30, 400), Value: value(50), Partition: part, Outcome: oracle.Info})
	require.Empty(t, oracle.Check(h))
}

func TestManyAnomaliesAreCounted(t *testing.T) {
	h := healthy()
	both(h, func(r *oracle.Read) {
		for i := range 1000 {
			r.Records = append(r.Records, record(int64(6+i), 6+i))
		}
		r.End = 1006
	})
	found := oracle.Check(h)
	require.Len(t, found, 11)
	require.Equal(t, "unknown-value in t-0: and 1990 more", found[10].String())
}

func TestPartitionsAreApart(t *testing.T) {
	h := healthy()
	other := oracle.Partition{Topic: "t", Index: 1}
	h.Sends = append(h.Sends, oracle.Send{Span: span(1, 2), Value: value(60), Partition: other, Outcome: oracle.OK})
	for _, name := range []string{"as is", "wiped"} {
		h.Reads = append(h.Reads, oracle.Read{Name: name, Partition: other, End: 1, Records: []oracle.Record{record(0, 60)}, Drained: true})
	}
	h.Polls = append(h.Polls, oracle.Poll{Span: span(60, 70), Consumer: "c2", Partition: other, Records: []oracle.Record{record(0, 60)}})
	require.Empty(t, oracle.Check(h))
	h.Reads = slices.DeleteFunc(h.Reads, func(r oracle.Read) bool { return r.Partition == other })
	h.Polls = h.Polls[:2]
	require.Equal(t, []oracle.Kind{oracle.NotDrained, oracle.Unseen}, kinds(oracle.Check(h)), "a partition that nobody read")
}

func TestTexts(t *testing.T) {
	for _, v := range []oracle.Value{{Producer: 1}, {Producer: 12, Sequence: 1 << 40}} {
		got, err := oracle.ParseValue(v.String())
		require.NoError(t, err)
		require.Equal(t, v, got)
		raw, err := json.Marshal(v)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, &got))
		require.Equal(t, v, got)
	}
	for _, p := range []oracle.Partition{{}, {Topic: "a-b-1", Index: 12}} {
		raw, err := json.Marshal(p)
		require.NoError(t, err)
		var got oracle.Partition
		require.NoError(t, json.Unmarshal(raw, &got))
		require.Equal(t, p, got)
	}
	require.Error(t, new(oracle.Partition).UnmarshalText([]byte("5")))
	for _, text := range []string{"", "p1", "p1-2x", "p-1", "q1-2", "p01-2", fmt.Sprintf("p1-%d0", int64(1)<<62)} {
		_, err := oracle.ParseValue(text)
		require.Error(t, err, text)
	}
}
