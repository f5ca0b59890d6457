package producers_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// grow appends to the model's log what its rules let in, markers among it.
func (m *model) grow(t *rapid.T) {
	for range rapid.IntRange(0, 60).Draw(t, "batches") {
		if rapid.IntRange(0, 4).Draw(t, "marker") == 0 {
			p := id.Producer(rapid.Int64Range(0, 3).Draw(t, "producer"))
			epoch, _, _ := m.of(p)
			bump := rapid.Int16Range(0, 1).Draw(t, "bump")
			m.log = append(m.log, marker(p, epoch+bump, m.end(), rapid.Bool().Draw(t, "commit")))
			continue
		}
		v := m.candidate(t)
		if dup, err := m.check(v); dup == nil && err == nil {
			m.log = append(m.log, v)
		}
	}
}

// delta is what a WAL object tells of a run of batches.
func delta(t require.TestingT, run []batch.View) []producers.State {
	return reencode(t, tableOf(run).Snapshot())
}

func tableOf(log []batch.View) *producers.Table {
	var table producers.Table
	for _, v := range log {
		table.Apply(v)
	}
	return &table
}

// TestMergeAgreesWithApply cuts a log into runs. A table as of somewhere in the first of
// them that gets the runs' deltas, one after the other, is the table of the whole log.
func TestMergeAgreesWithApply(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m model
		m.grow(t)
		cuts := rapid.SliceOfN(rapid.IntRange(0, len(m.log)), 1, 5).Draw(t, "cuts")
		slices.Sort(cuts)
		cuts = append(slices.Compact(cuts), len(m.log))
		known := rapid.IntRange(cuts[0], cuts[1]).Draw(t, "known")
		if known == cuts[1] {
			known = cuts[0] // not the end of the first run: that one would add nothing
		}
		table := tableOf(m.log[:known])
		for i, cut := range cuts[:len(cuts)-1] {
			table.Merge(delta(t, m.log[cut:cuts[i+1]]))
			want := tableOf(m.log[:cuts[i+1]])
			require.Equal(t, want.Snapshot(), table.Snapshot())
			wantFirst, wantOpen := want.FirstOpen()
			first, open := table.FirstOpen()
			require.Equal(t, wantOpen, open)
			require.Equal(t, wantFirst, first)
		}
		// The open transactions end in order as well.
		for p := range id.Producer(4) {
			if m.openAt(p) < 0 {
				continue
			}
			epoch, _, _ := m.of(p)
			v := marker(p, epoch, m.end(), false)
			want, _ := tableOf(m.log).Apply(v)
			m.log = append(m.log, v)
			aborted, ok := table.Apply(v)
			require.True(t, ok)
			require.Equal(t, want, aborted)
		}
	})
}

func TestMergeSeesProducersNow(t *testing.T) {
	var table producers.Table
	table.Merge(nil)
	require.Zero(t, table)
	table.Expire(start, time.Hour)
	table.Merge(delta(t, []batch.View{data(1, 0, 0, 0, 1, false)}))
	require.Equal(t, start.UnixMilli(), table.Snapshot()[0].LastSeen)
	table.Expire(start.Add(time.Hour), time.Hour)
	require.Equal(t, 1, table.Len())
	table.Expire(start.Add(time.Hour+time.Millisecond), time.Hour)
	require.Zero(t, table.Len())
}
