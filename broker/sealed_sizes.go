package broker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
)

// sealedSizes keeps how much of each partition is sealed, so that not every question costs a
// look at every chain. What this broker seals is added as it goes. What others change,
// by rewriting segments, is seen within maxSizeAge of questions. All of it is derived from the chains.
type sealedSizes struct {
	chains *chain.Store
	now    func() time.Time
	asking chan struct{} // holds one while chains are read

	mu      sync.Mutex
	sizes   map[id.Partition]sealedSize
	touched map[id.Partition]struct{} // changed while chains are read
}

// sealedSize is what the chain of a partition comes to.
type sealedSize struct {
	start id.Offset // log start that it was counted from
	end   id.Offset // of the chain
	bytes int64     // of batches in the segments that count
	read  time.Time
}

const (
	// maxSizeAge is after how long a chain is read again.
	maxSizeAge = 10 * time.Minute
	// maxAgedReads bounds how many chains are read again for one question because of their age.
	maxAgedReads = 500
	// sizeReads is how many chains are read at a time.
	sizeReads = 32
)

func newSealedSizes(chains *chain.Store, now func() time.Time) *sealedSizes {
	return &sealedSizes{
		chains: chains, now: now, asking: make(chan struct{}, 1),
		sizes: map[id.Partition]sealedSize{}, touched: map[id.Partition]struct{}{},
	}
}

// sealed adds a segment that this broker has appended to a chain.
func (s *sealedSizes) sealed(p id.Partition, seg chain.Segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched[p] = struct{}{}
	size, ok := s.sizes[p]
	switch {
	case !ok:
	case size.end != seg.Base:
		delete(s.sizes, p) // somebody else has sealed, too
	default:
		size.end, size.bytes = seg.Next, size.bytes+seg.Length
		s.sizes[p] = size
	}
}

// forget has the chains read anew: of partitions that came to this broker.
func (s *sealedSizes) forget(ps ...id.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range ps {
		delete(s.sizes, p)
		s.touched[p] = struct{}{}
	}
}

// of returns the sizes of partitions, given with their log starts. With an error, which names the
// first chain that could not be read in time, those that are known are returned all the same.
func (s *sealedSizes) of(ctx context.Context, starts map[id.Partition]id.Offset) (map[id.Partition]sealedSize, error) {
	select {
	case s.asking <- struct{}{}:
	case <-ctx.Done():
		return s.known(starts), fmt.Errorf("await sizes of sealed chains: %w", context.Cause(ctx))
	}
	defer func() { <-s.asking }()
	var reads errgroup.Group
	reads.SetLimit(sizeReads)
	for _, p := range s.stale(starts) {
		reads.Go(func() error {
			size, err := s.read(ctx, p, starts[p])
			if err == nil {
				s.keep(p, size)
			}
			return err
		})
	}
	err := reads.Wait()
	return s.known(starts), err
}

// stale lists what has to be read, and some of what is old.
func (s *sealedSizes) stale(starts map[id.Partition]id.Offset) (list []id.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.touched)
	var aged []id.Partition
	now := s.now()
	for p, start := range starts {
		size, ok := s.sizes[p]
		switch {
		case !ok || size.start != start:
			list = append(list, p)
		case now.Sub(size.read) > maxSizeAge:
			aged = append(aged, p)
		}
	}
	slices.SortFunc(aged, func(a, b id.Partition) int { return s.sizes[a].read.Compare(s.sizes[b].read) })
	return append(list, aged[:min(len(aged), maxAgedReads)]...)
}

// read counts one chain.
func (s *sealedSizes) read(ctx context.Context, p id.Partition, start id.Offset) (sealedSize, error) {
	size := sealedSize{start: start, end: start, read: s.now()}
	segs, err := s.chains.Segments(ctx, p, start, 0)
	if err != nil {
		return size, err
	}
	for _, seg := range segs {
		size.bytes += seg.Length
		size.end = cmp.Or(seg.Next, size.end)
	}
	return size, nil
}

// keep notes what was read, unless it has changed meanwhile: then it is read again the next time.
func (s *sealedSizes) keep(p id.Partition, size sealedSize) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, changed := s.touched[p]; changed {
		size.start = -1
	}
	s.sizes[p] = size
}

func (s *sealedSizes) known(starts map[id.Partition]id.Offset) map[id.Partition]sealedSize {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := make(map[id.Partition]sealedSize, len(starts))
	for p := range starts {
		if size, ok := s.sizes[p]; ok {
			known[p] = size
		}
	}
	return known
}
