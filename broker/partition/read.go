package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/producers"
)

// Fetched is what a read returns: whole batches, shared and not to be written to.
type Fetched struct {
	Watermarks
	Batches [][]byte
	Bytes   int // length of all batches
	// Aborted are the aborted transactions that overlap the batches, of a read of what is
	// committed: their records are to be left out.
	Aborted []producers.AbortedTxn
	// More tells that records which could be read follow the batches: a read ends at
	// maxBytes, and also where its tier or its segment ends.
	More bool
}

// Read returns batches from the one that contains offset from, up to the high
// watermark or, with committed, the last stable offset. At least one batch is
// returned if there is one, even above maxBytes. An offset equal to the high
// watermark gives no batches and no error; another one outside the log fails with
// ErrOutOfRange. Bytes that fail their checksum are an error, never returned.
func (l *Log) Read(ctx context.Context, from id.Offset, maxBytes int, committed bool) (Fetched, error) {
	w := l.Watermarks()
	f := Fetched{Watermarks: w}
	if from < w.Start || from > w.High {
		return f, fmt.Errorf("read %s at %d: %w [%d, %d]", l.id, from, ErrOutOfRange, w.Start, w.High)
	}
	limit := w.High
	if committed {
		limit = w.Stable
	}
	if from >= limit {
		return f, nil
	}
	batches, err := l.readTiers(ctx, from, limit, maxBytes)
	if err != nil {
		return f, fmt.Errorf("read %s at %d: %w", l.id, from, err)
	}
	f.Batches = batches
	for _, b := range batches {
		f.Bytes += len(b)
	}
	if n := len(batches); n > 0 {
		last, err := batch.ParseHeader(batches[n-1])
		if err != nil {
			return f, fmt.Errorf("read %s at %d: %w", l.id, from, err)
		}
		f.More = last.NextOffset() < limit
		if committed {
			f.Aborted, err = l.abortedIn(ctx, from, last.NextOffset())
		}
		if err != nil {
			return Fetched{Watermarks: w}, fmt.Errorf("read %s at %d: %w", l.id, from, err)
		}
	}
	return f, nil
}

// readTiers asks the hot tier first, then the WAL objects of earlier leaders, then the
// chain. A segment may be sealed and dropped while we look, so that a miss in the hot tier
// or in the WAL is answered by the chain, which was written before the drop; the chain in
// turn may be read a moment too early for an offset that is still hot, which is looked for
// once more. What the hot tier has may end below limit: the partition was led here once,
// and by others since.
func (l *Log) readTiers(ctx context.Context, from, limit id.Offset, maxBytes int) ([][]byte, error) {
	batches, err := l.tiers.Hot.Read(l.id, from, limit, maxBytes)
	if len(batches) > 0 || err != nil && !errors.Is(err, journal.ErrNotHot) {
		return batches, err
	}
	if seg, ok := l.adoptedAt(from); ok {
		batches, err := l.tiers.Cold.Read(ctx, l.id, seg, from, limit, maxBytes)
		if !errors.Is(err, objstore.ErrNotFound) {
			return batches, err
		}
	}
	if seg, ok := l.found.holding(from); ok {
		batches, err := l.tiers.Cold.Read(ctx, l.id, seg, from, limit, maxBytes)
		if !errors.Is(err, objstore.ErrNotFound) {
			return batches, err
		}
	}
	seg, err := l.tiers.Chain.Find(ctx, l.id, from)
	if errors.Is(err, chain.ErrNotSealed) {
		return l.tiers.Hot.Read(l.id, from, limit, maxBytes)
	}
	if err != nil {
		return nil, err
	}
	l.found.keep(seg)
	return l.tiers.Cold.Read(ctx, l.id, seg, from, limit, maxBytes)
}

// segments remembers the segments of a chain that were found last, so that a reader who goes
// from front to back asks the table once for each. An item of a chain never changes; one
// whose object is gone is looked for anew. It is safe for concurrent use.
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
