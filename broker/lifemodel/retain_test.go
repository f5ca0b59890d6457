package lifemodel

import (
	"context"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
)

// chains are the segments that count, of each partition.
type chains map[*part][]chain.Segment

// parts yields all partitions that there are.
func (l *life) parts() (all []*part) {
	for _, tp := range l.topics {
		all = append(all, tp.parts...)
	}
	return all
}

func (l *life) ids() (ids []id.Partition) {
	for _, p := range l.parts() {
		ids = append(ids, p.id)
	}
	return ids
}

// chains reads the segments that count now.
func (l *life) chains(t *rapid.T) chains {
	all := chains{}
	for _, p := range l.parts() {
		items, err := l.w.chains.Items(context.Background(), p.id)
		require.NoError(t, err)
		canonical, _, err := chain.Canonical(items, p.start)
		require.NoError(t, err, "the chain of %s, which starts at %d: %+v", p.id, p.start, items)
		for _, item := range canonical {
			if item.Next > p.start {
				all[p] = append(all[p], item.Segment)
			}
		}
	}
	return all
}

// Retain moves log starts, as far as Kafka's rules have it.
func (l *life) Retain(t *rapid.T) {
	before := l.chains(t)
	l.w.known.Forget(l.ids()...) // what the steps of others have done becomes known with time
	require.NoError(t, l.w.keeper.Retain(context.Background(), l.ids()))
	l.retained(t, before, true)
}

// retained holds the log starts after retention to the segments there were before it, and takes them
// over. With complete it got to its end.
func (l *life) retained(t *rapid.T, before chains, complete bool) {
	for _, p := range l.parts() {
		state, ok := l.w.meta.Image().Partition(p.id)
		require.True(t, ok)
		boundary := state.Start == p.start
		rest := int64(0)
		for _, seg := range before[p] {
			rest += seg.Length
			boundary = boundary || seg.Next == state.Start
		}
		require.True(t, boundary, "%s starts at %d, within a segment of %+v", p.id, state.Start, before[p])
		kept := false
		for _, seg := range before[p] {
			rest -= seg.Length
			if seg.Empty() {
				continue
			}
			due := p.due(t, seg, rest, l.w.now.Load())
			if seg.Next <= state.Start {
				require.True(t, due, "%s: retention took %+v, behind which are %d bytes", p.id, seg, rest)
			} else if complete && !kept {
				require.False(t, due, "%s: retention left %+v, behind which are %d bytes", p.id, seg, rest)
				kept = true
			}
		}
		p.start = state.Start
	}
}

// due reports whether retention asks that a segment goes, with so many sealed bytes behind it.
func (p *part) due(t *rapid.T, seg chain.Segment, rest, now int64) bool {
	tp := p.topic
	if !tp.delete {
		return false
	}
	if !tp.compact { // else some of the records may be gone
		newest := int64(-1)
		for _, r := range p.log[seg.Base:seg.Next] {
			newest = max(newest, r.time)
		}
		require.Equal(t, newest, seg.MaxTimestamp)
	}
	at := seg.MaxTimestamp
	if at < 0 {
		at = seg.Sealed
	}
	return tp.retentionBytes >= 0 && rest >= tp.retentionBytes || tp.retention >= 0 && now-at > tp.retention
}
