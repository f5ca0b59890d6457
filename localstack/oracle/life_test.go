package oracle

import (
	"slices"
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
			r.Start = n
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
	back.Start = 7
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
