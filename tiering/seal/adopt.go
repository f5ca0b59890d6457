package seal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
)

// Adoption names the runs of WAL objects that hold what follows the chain of a partition.
type Adoption struct {
	Partition id.Partition
	// Segments stand for the runs, in order of offset. They may begin below the chain's
	// end, also within a run, but leave out nothing from there on.
	Segments []chain.Segment
}

// Adopted is what has become of an Adoption.
type Adopted struct {
	Partition id.Partition
	End       id.Offset // of the chain, as last seen; -1 if it could not be read
	Err       error     // why the chain does not reach the end of the runs; nil if it does
}

// Adopt copies the batches of WAL objects that lie beyond the ends of their partitions'
// chains into packs and appends these to the chains. It returns how far each chain
// reaches, in the order of as, in which each partition may be named once. It takes a
// round, so that it runs beside no other, and waits for the one under way.
//
// A partition that fails does not hold up the others. The error is nil if all reach their
// ends and AfterPass was content; else it tells of the first that does not, or of
// AfterPass, or that the round did not begin: then nothing else is returned.
//
// The commit point is that of sealing: an item of a chain. A crash before it leaves
// the pack, or a part of it, as an orphan, and the records where they were; a crash
// between two items leaves the other partitions as they were; a crash after all
// of them, before the caller knows, leaves nothing to do. In each case the WAL
// objects are untouched, and the next Adopt goes on from the chains' ends. The last
// round of a former leader may run beside: it has sealed the same batches, and
// whichever is later finds the place taken and starts again from the new end.
func (s *Sealer) Adopt(ctx context.Context, as []Adoption) ([]Adopted, error) {
	if s.Paused() {
		return nil, ErrPaused
	}
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	var adopted []Adopted
	err = s.takeRound(ctx, func(ctx context.Context) (err error) {
		adopted, err = s.adopt(ctx, as)
		return err
	})
	return adopted, err
}

// adopt is the round of Adopt.
func (s *Sealer) adopt(ctx context.Context, as []Adoption) ([]Adopted, error) {
	ps := make([]id.Partition, len(as))
	for i, a := range as {
		ps[i] = a.Partition
		delete(s.tails, a.Partition)
	}
	skip := map[id.Partition]error{}
	src := &runReader{cold: s.cfg.Cold}
	err := s.drain(ctx, src, skip, func() plan {
		s.unskip(ctx, skip)
		s.seeTails(ctx, ps, skip)
		return s.planAdoption(as, src, skip)
	})
	if err == nil && s.Paused() {
		err = ErrPaused // those that are not done, if any
	}
	s.seeTails(ctx, ps, map[id.Partition]error{}) // those that others took the place of
	adopted, failed := s.outcome(as, skip, err)
	var after error
	if err == nil || failed == 0 || errors.Is(err, ErrPaused) {
		after = s.afterPass(ctx)
	}
	if failed == 0 {
		return adopted, after
	}
	return adopted, errors.Join(after, fmt.Errorf("%d of %d partitions are not adopted: %w", failed, len(as), firstFailure(adopted)))
}

// unskip looks again at the partitions that could not be sealed: where the chain has
// moved since, another sealer has done its work, and may have removed what it read from.
func (s *Sealer) unskip(ctx context.Context, skip map[id.Partition]error) {
	again, at := slices.Collect(maps.Keys(skip)), s.clock()
	for i, now := range s.cfg.Chain.Ends(ctx, again) {
		if now.Err != nil {
			continue
		}
		before, seen := s.tails[again[i]]
		s.tails[again[i]] = tail{now.End, now.Last, at}
		if seen && now.End > before.end {
			delete(skip, again[i])
		}
	}
}

// planAdoption chooses what goes into the next pack. It adds to skip the partitions
// that something is missing of.
func (s *Sealer) planAdoption(as []Adoption, src *runReader, skip map[id.Partition]error) plan {
	var pl plan
	src.segs = src.segs[:0]
	for _, a := range as {
		if pl.full(s.cfg.MaxPackBytes) {
			break
		}
		if _, skipped := skip[a.Partition]; skipped {
			continue
		}
		if !s.cfg.Live(a.Partition) {
			skip[a.Partition] = fmt.Errorf("adopt %s: %w", a.Partition, errNotLive)
			continue
		}
		r, err := src.collect(a, s.tails[a.Partition], &pl, s.cfg.MaxPackBytes)
		if err != nil {
			skip[a.Partition] = err
		}
		if len(r.items) > 0 {
			pl.runs = append(pl.runs, r)
		}
	}
	return pl
}

// outcome tells how far as came and how many did not reach their ends, because of what is
// in skip or else because of err.
func (s *Sealer) outcome(as []Adoption, skip map[id.Partition]error, err error) (out []Adopted, failed int) {
	out = make([]Adopted, len(as))
	for i, a := range as {
		t, seen := s.tails[a.Partition]
		if !seen {
			t.end = -1
		}
		out[i] = Adopted{Partition: a.Partition, End: t.end}
		if n := len(a.Segments); seen && (n == 0 || a.Segments[n-1].Next <= t.end) {
			continue
		}
		if out[i].Err = skip[a.Partition]; out[i].Err == nil {
			out[i].Err = err
		}
		failed++
	}
	return out, failed
}

func firstFailure(adopted []Adopted) error {
	for _, a := range adopted {
		if a.Err != nil {
			return a.Err
		}
	}
	return nil
}
