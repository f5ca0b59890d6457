package partition

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
)

// What was compacted is read from the segments that compaction has left, and from nowhere else:
// neither from the hot tier, nor from the items that they have replaced, which stay in the chain for
// a while. Both have records that are gone, and of the aborted transactions among them nobody
// tells any more once their markers are gone; nor is a deleted key's tombstone there for ever.

// cleaned is what a log knows of that. It is derived from the chain.
type cleaned struct {
	mu     sync.Mutex
	below  id.Offset       // see ColdBelow
	unread id.Offset       // what is known below it is to be read (again) from the chain
	turn   int             // of the calls of unlearn
	segs   []chain.Segment // that lack records, in order
}

// ColdBelow is the offset below which reads ask the chain before the hot tier, because the chain
// was compacted since.
func (l *Log) ColdBelow() id.Offset {
	l.cleaned.mu.Lock()
	defer l.cleaned.mu.Unlock()
	return l.cleaned.below
}

// coldBelow raises ColdBelow. Of what is read from the chain its footers tell which transactions were
// aborted: those in memory may have been compacted away.
func (l *Log) coldBelow(upTo id.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aborted.raise(upTo)
	l.cleaned.mu.Lock()
	defer l.cleaned.mu.Unlock()
	l.cleaned.below = max(l.cleaned.below, upTo)
}

// unlearn has the chain below an offset looked at again.
func (l *Log) unlearn(below id.Offset) {
	l.cleaned.mu.Lock()
	l.cleaned.unread = max(l.cleaned.unread, below)
	l.cleaned.turn++
	l.cleaned.mu.Unlock()
	l.found.forget()
}

// learnCleaned looks at the chain, if a read of from needs it, for the segments that lack records.
func (l *Log) learnCleaned(ctx context.Context, from id.Offset) error {
	l.cleaned.mu.Lock()
	unread, turn := l.cleaned.unread, l.cleaned.turn
	l.cleaned.mu.Unlock()
	if from >= unread {
		return nil
	}
	items, err := l.tiers.Chain.Items(ctx, l.id)
	if err != nil {
		return fmt.Errorf("find out what was compacted: %w", err)
	}
	canonical, _, err := chain.Canonical(items, l.Watermarks().Start)
	if err != nil { // a damaged chain is read as it is
		canonical = nil
	}
	var segs []chain.Segment
	for _, item := range canonical {
		if item.Cleaned() {
			segs = append(segs, item.Segment)
		}
	}
	if n := len(segs); n > 0 {
		l.coldBelow(segs[n-1].Next)
	}
	l.cleaned.mu.Lock()
	defer l.cleaned.mu.Unlock()
	if l.cleaned.turn == turn {
		l.cleaned.segs, l.cleaned.unread = slices.Clip(segs), 0
	}
	return nil
}

// cleanedAt returns the segment that holds off, if it is known to lack records.
func (l *Log) cleanedAt(off id.Offset) (chain.Segment, bool) {
	l.cleaned.mu.Lock()
	defer l.cleaned.mu.Unlock()
	segs := l.cleaned.segs
	i := sort.Search(len(segs), func(i int) bool { return segs[i].Next > off })
	if i == len(segs) || segs[i].Base > off {
		return chain.Segment{}, false
	}
	return segs[i], true
}

// Cleaned says that the chain of a partition was compacted, up to an offset. From then on readers
// are not given the records that are gone from the chain. It may be called again and again.
func (s *Set) Cleaned(p id.Partition, upTo id.Offset) {
	s.mu.RLock()
	l, ok := s.logs[p]
	s.mu.RUnlock()
	if ok {
		l.unlearn(upTo)
		l.coldBelow(upTo)
	}
}
