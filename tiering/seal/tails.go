package seal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/producers"
)

// tail is the end of a chain. It may be behind the table's but is never ahead of it.
type tail struct {
	end  id.Offset
	last chain.Segment // the zero Segment if the chain is empty
	seen time.Time     // before it was read or written, by Sealer.clock
}

// Who goes by a tail commits within chain.CommitWithin of its being seen: later, what the chain
// ends with may have been replaced and collected, and the place of an item that is gone taken for the end. So
// tails are read anew in time for what is based on them, which takes the other half.
const tailAge = chain.CommitWithin / 2

func (s *Sealer) old(t tail, age time.Duration) bool { return s.clock().Sub(t.seen) > age }

// Forget has the ends of the partitions' chains read anew from the next round on: for
// those that others have sealed meanwhile. Without it the first pack comes too late.
func (s *Sealer) Forget(ps ...id.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range ps {
		s.forgotten[p] = struct{}{}
	}
}

// forgetTails begins a round.
func (s *Sealer) forgetTails() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.forgotten {
		delete(s.tails, p)
	}
	clear(s.forgotten)
}

// seeTails reads the ends of the chains of ps that are not known. It adds those that
// it cannot read to skip, and leaves out those that are in it.
func (s *Sealer) seeTails(ctx context.Context, ps []id.Partition, skip map[id.Partition]error) {
	var unknown []id.Partition
	for _, p := range ps {
		t, known := s.tails[p]
		if _, skipped := skip[p]; (!known || s.old(t, tailAge)) && !skipped {
			unknown = append(unknown, p)
		}
	}
	now := s.clock()
	for i, t := range s.cfg.Chain.Ends(ctx, unknown) {
		if t.Err != nil {
			skip[unknown[i]] = t.Err
			continue
		}
		s.tails[unknown[i]] = tail{t.End, t.Last, now}
	}
}

// tailTries is how often a tail is read whose object has gone: its segment was replaced and
// collected.
const tailTries = 3

// producers returns the producers of p as of its tail.
func (s *Sealer) producers(ctx context.Context, p id.Partition) (states []producers.State, err error) {
	for range tailTries {
		states, err = s.producersOf(ctx, p, s.tails[p].last)
		if !errors.Is(err, objstore.ErrNotFound) {
			break
		}
		now := s.clock()
		end, last, _, endErr := s.cfg.Chain.End(ctx, p)
		if endErr != nil {
			return nil, endErr
		}
		if end != s.tails[p].end {
			s.Forget(p) // another sealer was faster
			return nil, errors.Join(chain.ErrTaken, err)
		}
		s.tails[p] = tail{end, last, now}
	}
	return states, err
}

// producersOf returns the producers of p as of the end of seg, a segment of its chain.
func (s *Sealer) producersOf(ctx context.Context, p id.Partition, seg chain.Segment) ([]producers.State, error) {
	if seg.Empty() { // none, or one that became empty at the end: then nobody is known any more
		return nil, nil
	}
	footer, err := s.cfg.Cold.Footer(ctx, seg.Object, seg.ObjectSize)
	if err != nil {
		return nil, err
	}
	run, ok := footer.Run(p)
	if !ok {
		return nil, fmt.Errorf("object %s has no run of it", seg.Object)
	}
	return run.Producers, nil
}

// sealedTo is what AfterPass gets.
func (s *Sealer) sealedTo(ctx context.Context, p id.Partition) (id.Offset, error) {
	live := s.cfg.Live(p)
	if live {
		s.mu.Lock() // calls of AfterPass run beside each other, and nothing else that uses tails
		t, known := s.tails[p]
		s.mu.Unlock()
		if known {
			return t.end, nil
		}
	}
	now := s.clock()
	end, last, _, err := s.cfg.Chain.End(ctx, p)
	if err == nil && live {
		s.mu.Lock()
		s.tails[p] = tail{end, last, now}
		s.mu.Unlock()
	}
	return end, err
}

// afterPass lets the owner act upon what is sealed.
func (s *Sealer) afterPass(ctx context.Context) error {
	if s.cfg.AfterPass == nil {
		return nil
	}
	return s.cfg.AfterPass(ctx, s.sealedTo)
}
