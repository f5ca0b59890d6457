package partition

import (
	"context"
	"errors"
	"sync"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/journal"
)

// sealedTries is how often a sealed segment is looked for whose object has gone: its item was
// replaced, or its WAL object sealed, between the look and the read.
const sealedTries = 3

// readOn reads at from and goes on behind what compaction has left nothing of, so that it
// returns no batch only if there is none up to limit.
func (l *Log) readOn(ctx context.Context, from, limit id.Offset, maxBytes int) ([][]byte, error) {
	for from < limit {
		batches, next, err := l.readTiers(ctx, from, limit, maxBytes)
		if len(batches) > 0 || err != nil {
			return batches, err
		}
		from = next
	}
	return nil, nil
}

// readTiers asks the hot tier first, then the WAL objects of earlier leaders, then the
// chain; below ColdBelow it asks the chain first. Without batches, next is where to go on.
//
// A segment may be sealed and dropped while we look, so that a miss in the hot tier
// or in the WAL is answered by the chain, which was written before the drop; the chain in
// turn may be read a moment too early for an offset that is still hot, which is looked for
// once more. What the hot tier has may end below limit: the partition was led here once,
// and by others since.
func (l *Log) readTiers(ctx context.Context, from, limit id.Offset, maxBytes int) (batches [][]byte, next id.Offset, err error) {
	if from < l.ColdBelow() {
		batches, next, err = l.readSealed(ctx, from, limit, maxBytes)
		if !errors.Is(err, chain.ErrNotSealed) {
			return batches, next, err
		}
	}
	batches, err = l.tiers.Hot.Read(l.id, from, limit, maxBytes)
	if len(batches) > 0 || err != nil && !errors.Is(err, journal.ErrNotHot) {
		return batches, limit, err
	}
	if seg, ok := l.adoptedAt(from); ok {
		batches, err := l.tiers.Cold.Read(ctx, l.id, seg, from, limit, maxBytes)
		if !errors.Is(err, objstore.ErrNotFound) {
			return batches, seg.Next, err
		}
	}
	batches, next, err = l.readSealed(ctx, from, limit, maxBytes)
	if errors.Is(err, chain.ErrNotSealed) {
		batches, err = l.tiers.Hot.Read(l.id, from, limit, maxBytes)
		next = limit
	}
	return batches, next, err
}

// readSealed reads the segment of the chain that holds from. It fails with chain.ErrNotSealed.
func (l *Log) readSealed(ctx context.Context, from, limit id.Offset, maxBytes int) (batches [][]byte, next id.Offset, err error) {
	err = l.inSealed(ctx, from, func(seg chain.Segment) error {
		next = seg.Next
		batches, err = l.tiers.Cold.Read(ctx, l.id, seg, from, limit, maxBytes)
		return err
	})
	return batches, next, err
}

// inSealed calls f with the segment of the chain that holds off, again with another one if the
// object has gone. It fails with chain.ErrNotSealed, or as f does.
func (l *Log) inSealed(ctx context.Context, off id.Offset, f func(chain.Segment) error) (err error) {
	for range sealedTries {
		if err = l.learnCleaned(ctx, off); err != nil {
			return err
		}
		seg, ok := l.cleanedAt(off)
		if !ok {
			seg, ok = l.found.holding(off)
		}
		if !ok {
			if seg, err = l.tiers.Chain.Find(ctx, l.id, off); err != nil {
				return err
			}
			l.found.keep(seg)
		}
		if err = f(seg); !errors.Is(err, objstore.ErrNotFound) {
			return err
		}
		l.unlearn(off + 1)
	}
	return err
}

// segments remembers the segments of a chain that were found last, so that a reader who goes
// from front to back asks the table once for each. What replaces one has its records, so that one
// may be read until its object is gone. It is safe for concurrent use.
type segments struct {
	mu   sync.Mutex
	last [4]chain.Segment
	next int
}

func (s *segments) holding(off id.Offset) (chain.Segment, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.last {
		if seg.Base <= off && off < seg.Next {
			return seg, true
		}
	}
	return chain.Segment{}, false
}

func (s *segments) keep(seg chain.Segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[s.next] = seg
	s.next = (s.next + 1) % len(s.last)
}

// forget has all of them looked for anew.
func (s *segments) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.last[:])
}
