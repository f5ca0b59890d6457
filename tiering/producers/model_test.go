package producers_test

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// model is the rules in their plainest form: it keeps the whole log and looks
// through it for every question.
type model struct{ log []batch.View }

func (m *model) end() id.Offset {
	if len(m.log) == 0 {
		return 0
	}
	return m.log[len(m.log)-1].NextOffset()
}

// of returns what a producer has in the log since its epoch began, data batches only, and its epoch.
func (m *model) of(p id.Producer) (epoch int16, batches []batch.View, known bool) {
	for _, v := range m.log {
		if v.ProducerID() != p {
			continue
		}
		if !known || v.ProducerEpoch() != epoch {
			epoch, batches, known = v.ProducerEpoch(), nil, true
		}
		if !v.IsControl() {
			batches = append(batches, v)
		}
	}
	return epoch, batches, known
}

// openAt returns where p's transaction began, or -1.
func (m *model) openAt(p id.Producer) id.Offset {
	open := id.Offset(-1)
	for _, v := range m.log {
		switch {
		case v.ProducerID() != p:
		case v.IsControl():
			open = -1
		case v.IsTransactional() && open < 0:
			open = v.BaseOffset()
		}
	}
	return open
}

func (m *model) check(v batch.View) (dup *batch.View, err error) {
	epoch, batches, known := m.of(v.ProducerID())
	if !known {
		return nil, nil
	}
	if v.ProducerEpoch() < epoch {
		return nil, producers.ErrFenced
	}
	want := int32(0)
	if v.ProducerEpoch() == epoch {
		for _, b := range batches[max(0, len(batches)-5):] {
			if b.BaseSequence() == v.BaseSequence() && b.LastSequence() == v.LastSequence() {
				return &b, nil
			}
		}
		if len(batches) > 0 {
			if last := batches[len(batches)-1].LastSequence(); last < math.MaxInt32 {
				want = last + 1
			}
		}
	}
	if v.BaseSequence() != want {
		return nil, producers.ErrOutOfOrder
	}
	if m.openAt(v.ProducerID()) >= 0 && !v.IsTransactional() {
		return nil, producers.ErrInvalidState
	}
	return nil, nil
}

func (m *model) firstOpen() (id.Offset, bool) {
	low := id.Offset(math.MaxInt64)
	for p := range id.Producer(4) {
		if at := m.openAt(p); at >= 0 {
			low = min(low, at)
		}
	}
	return low, low != math.MaxInt64
}

// candidate draws a batch that is in sequence, a repetition or nearly so.
func (m *model) candidate(t *rapid.T) batch.View {
	p := id.Producer(rapid.Int64Range(0, 3).Draw(t, "producer"))
	epoch, batches, _ := m.of(p)
	epoch += rapid.SampledFrom([]int16{0, 0, 0, 0, 0, 0, 1, -1}).Draw(t, "epoch step")
	sequences := []int32{0, math.MaxInt32 - 1, rapid.Int32Range(0, math.MaxInt32).Draw(t, "any")}
	n := rapid.IntRange(1, 4).Draw(t, "records")
	if k := len(batches); k > 0 {
		old := batches[rapid.IntRange(max(0, k-7), k-1).Draw(t, "old")]
		sequences = append(sequences, old.BaseSequence(), (batches[k-1].LastSequence()+1)&math.MaxInt32)
		if rapid.Bool().Draw(t, "repeat") {
			n = int(old.Records())
		}
	}
	at := rapid.IntRange(0, 2*len(sequences)).Draw(t, "sequence")
	return data(p, max(epoch, 0), sequences[min(at, len(sequences)-1)], m.end(), n, rapid.Bool().Draw(t, "transactional"))
}

func TestTableAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, table := &model{}, &producers.Table{}
		t.Repeat(map[string]func(*rapid.T){
			"produce": func(t *rapid.T) {
				v := m.candidate(t)
				dup, wantErr := m.check(v)
				got, err := table.Check(v, start)
				if !errors.Is(err, wantErr) || got.Duplicate != (dup != nil) {
					t.Fatalf("check of %d/%d at sequence %d: %+v %v, want duplicate %t %v", v.ProducerID(), v.ProducerEpoch(), v.BaseSequence(), got, err, dup != nil, wantErr)
				}
				if dup != nil && (got.Base != dup.BaseOffset() || got.Timestamp != dup.MaxTimestamp()) {
					t.Fatalf("duplicate of %d, want %d", got.Base, dup.BaseOffset())
				}
				if err == nil && dup == nil {
					m.log = append(m.log, v)
					table.Apply(v)
				}
			},
			"mark": func(t *rapid.T) {
				p := id.Producer(rapid.Int64Range(0, 3).Draw(t, "producer"))
				epoch, _, _ := m.of(p)
				commit, began := rapid.Bool().Draw(t, "commit"), m.openAt(p)
				v := marker(p, epoch+rapid.Int16Range(0, 1).Draw(t, "bump"), m.end(), commit)
				m.log = append(m.log, v)
				aborted, ok := table.Apply(v)
				if ok != (began >= 0 && !commit) || ok && (aborted.First != began || aborted.Last != v.BaseOffset() || aborted.Producer != p) {
					t.Fatalf("marker of %d: aborted %+v %t, it began at %d", p, aborted, ok, began)
				}
			},
			"encode and restore": func(t *rapid.T) {
				states := reencode(t, table.Snapshot())
				table = &producers.Table{}
				table.Restore(states)
				require.Equal(t, states, table.Snapshot())
			},
			"": func(t *rapid.T) {
				want, wantOpen := m.firstOpen()
				if got, open := table.FirstOpen(); open != wantOpen || open && got != want {
					t.Fatalf("first open %d %t, want %d %t", got, open, want, wantOpen)
				}
			},
		})
		var rebuilt producers.Table
		_, _ = rebuilt.Check(data(id.NoProducer, 0, 0, 0, 1, false), start) // sets its clock
		for _, v := range m.log {
			rebuilt.Apply(v)
		}
		want, got := rebuilt.Snapshot(), table.Snapshot()
		for i := range want {
			want[i].LastSeen = 0
		}
		for i := range got {
			got[i].LastSeen = 0
		}
		require.Equal(t, want, got, "the log alone rebuilds the table")
	})
}

func reencode(t require.TestingT, states []producers.State) []producers.State {
	var raw []byte
	for _, s := range states {
		raw = s.AppendTo(raw)
	}
	var out []producers.State
	for len(raw) > 0 {
		s, rest, err := producers.DecodeState(raw)
		require.NoError(t, err)
		out, raw = append(out, s), rest
	}
	return out
}

func TestStateIsCompact(t *testing.T) {
	var l log
	for i := range 10 {
		_, err := l.send(123_456, 0, int32(i*16), 16, false)
		require.NoError(t, err)
	}
	raw := l.Snapshot()[0].AppendTo(nil)
	require.Less(t, len(raw), 80)
	for n := range raw {
		_, _, err := producers.DecodeState(raw[:n])
		require.ErrorIs(t, err, producers.ErrCorrupt)
	}
}

// FuzzDecodeState: bytes are refused with ErrCorrupt, or are a state that encodes to
// bytes which decode to the same state, and that a Table can hold.
func FuzzDecodeState(f *testing.F) {
	var l log
	for i := range 7 {
		_, _ = l.send(5, 2, (math.MaxInt32-20+int32(i*8))&math.MaxInt32, 8, true)
		_, _ = l.send(6, 0, int32(i), 1, false)
	}
	l.mark(5, 3, false)
	_, _ = l.send(5, 3, 0, 8, true)
	for _, s := range l.Snapshot() {
		raw := s.AppendTo(nil)
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, rest, err := producers.DecodeState(b)
		if err != nil {
			require.ErrorIs(t, err, producers.ErrCorrupt)
			return
		}
		require.Less(t, len(rest), len(b))
		require.LessOrEqual(t, len(s.Batches), producers.Window)
		require.Equal(t, []producers.State{s}, reencode(t, []producers.State{s}))
		var table producers.Table
		table.Restore([]producers.State{s})
		require.Equal(t, []producers.State{s}, table.Snapshot())
	})
}
