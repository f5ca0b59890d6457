package lifemodel

import (
	"bytes"
	"context"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// reading is what a client makes of a partition from an offset on.
type reading struct {
	records []record // of the kind that a reader sees: fate is committed or marker
	end     id.Offset
}

// read reads a log from an offset to its end as a consumer does.
func read(t *rapid.T, l *partition.Log, from id.Offset, size int, readCommitted bool) reading {
	out := reading{end: from}
	active := map[id.Producer]bool{}
	for {
		f, err := l.Read(context.Background(), out.end, size, readCommitted)
		require.NoError(t, err, "read %s at %d", l.ID(), out.end)
		if len(f.Batches) == 0 {
			if !readCommitted { // else all below an open transaction may be compacted away, and the next batch is behind its begin
				require.GreaterOrEqual(t, out.end, f.High, "a read of %s at %d finds nothing below its end", l.ID(), out.end)
			}
			return out
		}
		for p := range active {
			delete(active, p) // each answer tells of all that overlaps it
		}
		left := f.Aborted
		for _, raw := range f.Batches {
			v, rest, err := batch.Parse(raw)
			require.NoError(t, err)
			require.Empty(t, rest)
			require.NoError(t, v.Verify())
			require.Greater(t, v.NextOffset(), out.end, "batches of %s are in order", l.ID())
			left = begin(left, active, v)
			out.take(t, v, readCommitted && active[v.ProducerID()], from)
			if m, ok, err := parseMarker(v); ok && err == nil && !m.Commit {
				delete(active, v.ProducerID())
			}
			out.end = v.NextOffset()
		}
	}
}

func parseMarker(v batch.View) (batch.Marker, bool, error) {
	if !v.IsControl() || v.Records() == 0 {
		return batch.Marker{}, false, nil
	}
	return batch.ParseMarker(v)
}

// begin notes the aborted transactions that have begun at the end of a batch and returns the others.
func begin(left []producers.AbortedTxn, active map[id.Producer]bool, v batch.View) []producers.AbortedTxn {
	for len(left) > 0 && left[0].First <= v.LastOffset() {
		active[left[0].Producer] = true
		left = left[1:]
	}
	return left
}

// take notes the records of a batch at or above from.
func (out *reading) take(t *rapid.T, v batch.View, dropped bool, from id.Offset) {
	last := id.Offset(-1)
	for r, err := range batch.Decode(v, 0) {
		require.NoError(t, err)
		require.Greater(t, r.Offset, last)
		last = r.Offset
		if r.Offset < from || dropped && v.IsTransactional() && !v.IsControl() {
			continue
		}
		got := record{offset: r.Offset, time: r.Timestamp, key: string(r.Key), value: bytes.Clone(r.Value), producer: v.ProducerID()}
		if r.Value != nil && got.value == nil {
			got.value = []byte{}
		}
		if v.IsControl() {
			got.fate, got.key, got.value = marker, "", nil
		}
		out.records = append(out.records, got)
	}
}

// seen is a record as a reader sees it.
func (r record) seen() record {
	s := record{offset: r.offset, time: r.time, key: r.key, value: r.value, producer: r.producer}
	if r.fate == marker {
		s.fate = marker
	}
	return s
}

// check reads all of a partition and holds it to the model. It returns what is there.
func (p *part) check(t *rapid.T, w *world, size int) reading {
	l := w.log(p.id)
	marks := l.Watermarks()
	require.Equal(t, p.start, marks.Start, "log start of %s", p.id)
	require.Equal(t, p.end(), marks.High, "high watermark of %s", p.id)
	require.Equal(t, p.stable(), marks.Stable, "last stable offset of %s", p.id)
	sealed, _, _, err := w.chains.End(context.Background(), p.id)
	require.NoError(t, err)

	all := read(t, l, p.start, size, false)
	next := 0
	for _, want := range p.log[p.start:] {
		if next < len(all.records) && all.records[next].offset == want.offset {
			require.Equal(t, want.seen(), all.records[next], "%s at %d", p.id, want.offset)
			require.False(t, p.gone[want.offset] && !p.mayReturn(want.offset), "%s at %d was gone and has come back", p.id, want.offset)
			next++
			continue
		}
		require.NotEmpty(t, p.mayBeGone(want, sealed, w.now.Load()), "%s lacks what must be there (sealed to %d): %+v", p.id, sealed, want)
		p.gone[want.offset] = true
	}
	require.Equal(t, len(all.records), next, "%s has what was never appended", p.id)
	p.checkMarkers(t, all)
	p.checkCommitted(t, l, size, all)
	return all
}

// checkMarkers: the end of a transaction is there while any of its records is.
func (p *part) checkMarkers(t *rapid.T, all reading) {
	there := map[id.Offset]bool{}
	for _, r := range all.records {
		there[r.offset] = true
	}
	for _, m := range p.log[p.start:] {
		if m.fate != marker || there[m.offset] {
			continue
		}
		for _, r := range p.log[m.first:m.offset] {
			if r.producer == m.producer && r.fate != marker {
				require.False(t, there[r.offset], "%s: the marker at %d is gone, its record at %d is not", p.id, m.offset, r.offset)
			}
		}
	}
}

// checkCommitted holds a read_committed reader to what a read_uncommitted one sees.
func (p *part) checkCommitted(t *rapid.T, l *partition.Log, size int, all reading) {
	var want []record
	for _, r := range all.records {
		if was := p.log[r.offset]; r.offset < p.stable() && (was.fate == committed || was.fate == marker) {
			want = append(want, r)
		}
	}
	values := map[string]record{}
	for _, r := range want {
		values[r.key] = r
	}
	for _, r := range p.log[p.start:p.stable()] { // a deleted key does not come back with its tombstone gone
		if last, there := values[r.key]; there && r.fate == committed && r.value == nil && r.offset > last.offset {
			require.Nil(t, last.value, "%s has key %q at %d, which was deleted at %d", p.id, r.key, last.offset, r.offset)
		}
	}
	got := read(t, l, p.start, size, true)
	require.Equal(t, want, got.records, "read_committed of %s", p.id)
}

// checkFrom reads from an offset within the log, and looks for times.
func (p *part) checkFrom(t *rapid.T, w *world, all reading) {
	l, ctx := w.log(p.id), context.Background()
	from := id.Offset(rapid.Int64Range(int64(p.start), int64(p.end())).Draw(t, "from"))
	size := rapid.SampledFrom([]int{1, 700, 1 << 20}).Draw(t, "bytes")
	rest := all.records
	for len(rest) > 0 && rest[0].offset < from {
		rest = rest[1:]
	}
	got := read(t, l, from, size, false)
	require.Equal(t, len(rest), len(got.records), "%s from %d", p.id, from)
	if len(rest) > 0 {
		require.Equal(t, rest, got.records, "%s from %d", p.id, from)
	}
	if p.start > 0 {
		_, err := l.Read(ctx, p.start-1, size, false)
		require.ErrorIs(t, err, partition.ErrOutOfRange)
	}
	p.checkTimes(t, w, l, all)
}

// checkTimes looks for a time and for the newest record. What compaction has taken out of the chain a
// reader may still see in the hot tier, where no look-up goes that finds a segment.
func (p *part) checkTimes(t *rapid.T, w *world, l *partition.Log, all reading) {
	ctx := context.Background()
	sealed, _, _, err := w.chains.End(ctx, p.id)
	require.NoError(t, err)
	newest, sure := int64(-1), int64(-1)
	times := []int64{0, 1 << 60}
	for _, r := range all.records {
		newest = max(newest, r.time)
		if p.stays(w, r, sealed) {
			sure = max(sure, r.time)
		}
		times = append(times, r.time, r.time+1)
	}
	ts := rapid.SampledFrom(times).Draw(t, "time")
	f, ok, err := l.FindTime(ctx, ts, p.end())
	require.NoError(t, err)
	found := false
	for _, r := range all.records {
		switch {
		case r.time < ts || found:
		case ok && r.offset == f.Offset:
			require.Equal(t, r.time, f.Timestamp)
			found = true
		default:
			require.False(t, p.stays(w, r, sealed), "time %d of %s: found %+v, passed over %+v", ts, p.id, f, r)
		}
	}
	require.Equal(t, ok, found, "time %d of %s is found where there is one: %+v", ts, p.id, f)
	f, ok, err = l.FindMaxTime(ctx, p.end())
	require.NoError(t, err)
	if !ok {
		f.Timestamp = -1
	}
	require.LessOrEqual(t, sure, f.Timestamp, "the newest of %s", p.id)
	require.LessOrEqual(t, f.Timestamp, newest, "the newest of %s", p.id)
}

// stays reports whether no compaction may have taken a record.
func (p *part) stays(w *world, r record, sealed id.Offset) bool {
	return p.mayBeGone(p.log[r.offset], sealed, w.now.Load()) == ""
}
