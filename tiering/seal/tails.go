package seal

import (
	"context"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
)

// tail is the end of a chain. It may be behind the table's but is never ahead of it.
type tail struct {
	end  id.Offset
	last chain.Segment // of which Object is empty if the chain is
}

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
		_, known := s.tails[p]
		if _, skipped := skip[p]; !known && !skipped {
			unknown = append(unknown, p)
		}
	}
	for i, t := range s.cfg.Chain.Ends(ctx, unknown) {
		if t.Err != nil {
			skip[unknown[i]] = t.Err
			continue
		}
		s.tails[unknown[i]] = tail{t.End, t.Last}
	}
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
	end, last, _, err := s.cfg.Chain.End(ctx, p)
	if err == nil && live {
		s.mu.Lock()
		s.tails[p] = tail{end, last}
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
