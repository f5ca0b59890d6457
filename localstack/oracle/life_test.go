package oracle

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// life is a history of ten records of 100 bytes, one each second, of two keys in turn; the
// reads have the offsets that are named.
func life(reads ...Read) *History {
	h := &History{}
	p := Partition{Topic: "t"}
	for n := range int64(10) {
		at := time.Duration(n) * time.Second
		h.Sends = append(h.Sends, Send{
			Span: Span{at, at + time.Millisecond}, Value: Value{1, n}, Partition: p, Outcome: OK, Offset: n, Key: string(rune('a' + n%2)), Size: 100,
		})
	}
	for i := range reads {
		reads[i].Partition = p
		h.Reads = append(h.Reads, reads[i])
	}
	return h
}

// whole is a read of offsets, begun and ended at the second.
func whole(second int, offsets ...int64) Read {
	at := time.Duration(second) * time.Second
	r := Read{Span: Span{at, at}, Name: "r", End: 10, Drained: true}
	for i, n := range offsets {
		if i == 0 {
			r.Start, r.EndStart = n, n
		}
		r.Records = append(r.Records, Record{Offset: n, Value: Value{1, n}, Sum: uint64(n)})
	}
	return r
}

func TestLife(t *testing.T) {
	old, other := whole(10, 8, 9), whole(10, 8, 9)
	old.Records[1].Value, old.Records[1].Offset = Value{1, 0}, 10
	other.Records[0].Sum++
	back := whole(11, 8, 9)
	back.Start, back.EndStart = 7, 7
	moved := whole(10, 8, 9)
	moved.EndStart = 7
	undrained := whole(10, 8, 9)
	undrained.Drained = false
	unknown := whole(10, 8, 9)
	unknown.Records[0].Value.Producer = 2
	age, size, keys := Rules{Age: 4 * time.Second}, Rules{Bytes: 300}, Rules{Compacted: true}
	for name, test := range map[string]struct {
		rules Rules
		reads []Read
		want  []Kind
	}{
		"nothing may go, nothing has":       {Rules{}, []Read{whole(10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)}, nil},
		"nothing may go":                    {Rules{}, []Read{whole(10, 1, 2, 3, 4, 5, 6, 7, 8, 9)}, []Kind{LostWrite}},
		"old enough":                        {age, []Read{whole(10, 7, 8, 9)}, nil},
		"old enough, and not the first":     {age, []Read{whole(10, 1, 3, 4, 5, 6, 7, 8, 9)}, []Kind{LostWrite}},
		"the start goes back beside a read": {keys, []Read{moved}, []Kind{StartBack}},
		"too young":                         {age, []Read{whole(10, 8, 9)}, []Kind{LostWrite}},
		"not acknowledged before":           {age, []Read{whole(5, 2, 3, 4)}, nil},
		"enough is left":                    {size, []Read{whole(10, 7, 8, 9)}, nil},
		"too little is left":                {size, []Read{whole(10, 8, 9)}, []Kind{LostWrite}},
		"the last of each key":              {keys, []Read{whole(10, 8, 9)}, nil},
		"the last of a key is gone":         {keys, []Read{whole(10, 7, 9)}, []Kind{LostWrite}},
		"an older one is left":              {keys, []Read{whole(10, 2, 8, 9)}, nil},
		"an older one behind":               {keys, []Read{old}, []Kind{InconsistentOffsets, LostWrite, OldValue}},
		"back again":                        {keys, []Read{whole(10, 8, 9), whole(11, 6, 8, 9)}, []Kind{CameBack, StartBack}},
		"other bytes":                       {keys, []Read{whole(10, 8, 9), other}, []Kind{ReadsDiffer}},
		"the start goes back":               {keys, []Read{whole(10, 8, 9), back}, []Kind{StartBack}},
		"not read to the end":               {keys, []Read{undrained}, []Kind{NotDrained}},
		"what nobody sent":                  {keys, []Read{unknown}, []Kind{LostWrite, UnknownValue}},
		"what goes in time, a read and one": {age, []Read{whole(10, 6, 7, 8, 9), whole(13, 9)}, nil},
	} {
		var kinds []Kind
		for _, a := range CheckLife(life(test.reads...), map[string]Rules{"t": test.rules}) {
			kinds = append(kinds, a.Kind)
		}
		require.Equal(t, test.want, slices.Compact(kinds), name)
	}
}

func TestWhatIsUnknownMayBeThere(t *testing.T) {
	h := life(whole(10, 8, 9))
	h.Sends = append(h.Sends, Send{Span: Span{Invoked: time.Second}, Value: Value{2, 0}, Partition: Partition{Topic: "t"}, Outcome: Info, Key: "a", Size: 100})
	require.Empty(t, CheckLife(h, map[string]Rules{"t": {Bytes: 300}}), "it may be behind the others")
}

// keysOf is life whose send n has the key that the text has there, upper case for a tombstone.
func keysOf(keys string, reads ...Read) *History {
	h := life(reads...)
	for n := range h.Sends {
		s := &h.Sends[n]
		s.Tombstone = keys[n] < 'a'
		s.Key = strings.ToLower(keys[n : n+1])
	}
	return h
}

func kindsOf(h *History, rules Rules) (kinds []Kind) {
	for _, a := range CheckLife(h, map[string]Rules{"t": rules}) {
		kinds = append(kinds, a.Kind)
	}
	return slices.Compact(kinds)
}

func TestTombstones(t *testing.T) {
	rules := Rules{Compacted: true, DeleteRetention: 3 * time.Second}
	for name, test := range map[string]struct {
		keys  string
		reads []Read
		want  []Kind
	}{
		"there":                        {"aaaaaaaBcA", []Read{whole(10, 7, 8, 9)}, nil},
		"gone too soon":                {"aaaaaaaBcA", []Read{whole(10, 7, 8)}, []Kind{LostWrite}},
		"gone in time":                 {"aaaaaBcddd", []Read{whole(10, 4, 6, 9)}, nil},
		"gone with what it hides":      {"aaaabBcddd", []Read{whole(10, 3, 6, 9)}, nil},
		"gone before what it hides":    {"aaaabBcddd", []Read{whole(10, 3, 4, 6, 9)}, []Kind{OldValue}},
		"gone with its newer one":      {"aaaabBcddb", []Read{whole(10, 3, 6, 8, 9)}, nil},
		"hidden by one in time to go":  {"aaaabbBddd", []Read{whole(10, 3, 9)}, nil},
		"hidden by one that must stay": {"aaaabbbbBd", []Read{whole(10, 3, 9)}, []Kind{LostWrite}},
	} {
		require.Equal(t, test.want, kindsOf(keysOf(test.keys, test.reads...), rules), name)
	}
}

func TestTombstoneThatTheStartPassed(t *testing.T) {
	rules := Rules{Age: 4 * time.Second, Compacted: true, DeleteRetention: 3 * time.Second}
	// The reader had 4 when the log start went to 6: it goes on there.
	read := whole(10, 4, 6, 7, 8, 9)
	read.EndStart = 6
	require.Empty(t, kindsOf(keysOf("aaaabBcdef", read), rules))
	read.EndStart = 5
	require.Equal(t, []Kind{OldValue}, kindsOf(keysOf("aaaabBcdef", read), rules))
}

func TestWhatMustGo(t *testing.T) {
	rules := Rules{Age: 2 * time.Second, Late: time.Second, Until: 8 * time.Second}
	require.Empty(t, kindsOf(life(whole(10, 5, 6, 7, 8, 9)), rules))
	require.Equal(t, []Kind{NotGone}, kindsOf(life(whole(10, 4, 5, 6, 7, 8, 9)), rules))
	rules.Until = 7 * time.Second
	require.Empty(t, kindsOf(life(whole(10, 4, 5, 6, 7, 8, 9)), rules), "the rule ended before")
	require.Equal(t, []Kind{NotGone}, kindsOf(life(whole(5, 0, 1, 2, 3, 4)), rules), "a read beside the sends")
}

func TestDeletions(t *testing.T) {
	deleted := func(outcome Outcome, invoked, completed int, reads ...Read) *History {
		h := life(reads...)
		h.Deletions = []Deletion{{
			Span: Span{time.Duration(invoked) * time.Second, time.Duration(completed) * time.Second}, Partition: Partition{Topic: "t"}, Offset: 3, Outcome: outcome,
		}}
		return h
	}
	with, without := whole(10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), whole(10, 3, 4, 5, 6, 7, 8, 9)
	require.Empty(t, kindsOf(deleted(OK, 8, 9, without), Rules{}))
	require.Equal(t, []Kind{NotGone}, kindsOf(deleted(OK, 8, 9, with), Rules{}))
	require.Empty(t, kindsOf(deleted(OK, 8, 11, with), Rules{}), "it had not ended")
	require.Empty(t, kindsOf(deleted(Info, 8, 0, with), Rules{}), "it may not have happened")
	require.Empty(t, kindsOf(deleted(Info, 8, 0, without), Rules{}), "it may have happened")
	require.Equal(t, []Kind{LostWrite}, kindsOf(deleted(Fail, 8, 9, without), Rules{}))
	require.Equal(t, []Kind{LostWrite}, kindsOf(deleted(OK, 11, 12, without), Rules{}), "before it was asked for")
}

func TestLifeOfTransactions(t *testing.T) {
	in := func(txn Txn, end int64, reads ...Read) *History {
		h := life(reads...)
		h.Txns = []Txn{txn}
		h.Sends[8].Txn = 1
		for i := range h.Reads {
			h.Reads[i].Committed, h.Reads[i].End = true, end
		}
		return h
	}
	at := func(second int) time.Duration { return time.Duration(second) * time.Second }
	all, without := whole(12, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), whole(12, 0, 1, 2, 3, 4, 5, 6, 7, 9)
	committed := Txn{Span: Span{at(8), at(11)}, Asked: at(10), Commit: OK}
	require.Empty(t, kindsOf(in(committed, 10, all), Rules{}))
	require.Equal(t, []Kind{LostWrite}, kindsOf(in(committed, 10, without), Rules{}))
	require.Empty(t, kindsOf(in(committed, 8, without), Rules{}), "its marker was not there yet")
	aborted := Txn{Span: Span{at(8), at(11)}, Asked: at(10), Commit: Fail}
	require.Empty(t, kindsOf(in(aborted, 10, without), Rules{}))
	require.Equal(t, []Kind{AbortedRead}, kindsOf(in(aborted, 10, all), Rules{}))
	unknown := Txn{Span: Span{at(8), at(11)}, Asked: at(10), Commit: Info}
	require.Empty(t, kindsOf(in(unknown, 10, all, without), Rules{}))
	late := Txn{Span: Span{at(8), at(14)}, Asked: at(13), Commit: OK}
	require.Equal(t, []Kind{PrecommittedRead}, kindsOf(in(late, 10, all), Rules{}))
}
