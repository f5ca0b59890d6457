package seal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/journal"
)

const (
	// commitLinks is how many links go to the table at a time.
	commitLinks = 1000
	// maxStalls is how many packs in a row may come too late before a round gives up.
	maxStalls = 3
)

// errStalled is returned when other sealers are faster, again and again.
var errStalled = errors.New("another sealer is always faster")

// pass is one round: it seals what is rolled and then releases what it may. What
// cannot be sealed keeps its hot segments and is reported.
func (s *Sealer) pass(ctx context.Context) error {
	err := s.sealRolled(ctx)
	s.noteLag()
	return errors.Join(s.release(), err)
}

func (s *Sealer) sealRolled(ctx context.Context) error {
	g := newGatherer(s.cfg.FS, s.cfg.Journal)
	defer g.close()
	skip := map[id.Partition]error{}
	for stalls := 0; stalls < maxStalls; {
		segs := s.unsealed()
		g.see(segs)
		pl, err := s.plan(ctx, segs, skip)
		if err != nil {
			return err
		}
		if len(pl.runs) == 0 {
			return errors.Join(s.markSealed(ctx, segs), skipped(skip))
		}
		progress, err := s.sealOne(ctx, g, &pl, skip)
		if err != nil {
			return err
		}
		if stalls++; progress {
			stalls = 0
		}
		if err := s.markSealed(ctx, segs); err != nil {
			return err
		}
	}
	return errors.Join(skipped(skip), errStalled)
}

// skipped sums up the partitions that a round left out.
func skipped(skip map[id.Partition]error) error {
	if len(skip) == 0 {
		return nil
	}
	first := slices.MinFunc(slices.Collect(maps.Keys(skip)), id.Partition.Compare)
	return fmt.Errorf("%d partitions cannot be sealed; the first: %w", len(skip), skip[first])
}

// sealOne uploads one pack and commits its runs. It reports whether it got anywhere.
func (s *Sealer) sealOne(ctx context.Context, g *gatherer, pl *plan, skip map[id.Partition]error) (bool, error) {
	known := len(skip)
	name := s.objectName()
	footer, size, err := s.upload(ctx, g, pl, name, skip)
	if errors.Is(err, errNoRuns) {
		return len(skip) > known, nil
	}
	if err != nil {
		return false, err
	}
	s.count(func(st *Stats) { st.Packs++ })
	links := make([]chain.Link, len(footer.Runs))
	for i := range footer.Runs {
		links[i] = chain.Link{Partition: footer.Runs[i].Partition, Segment: chain.SegmentOf(&footer.Runs[i], name, size)}
	}
	done, err := s.commit(ctx, links)
	return done > 0 || len(skip) > known, err
}

// commit appends links to the chains and returns how many are there now. That others
// took a place is no error: the next plan starts from where they ended.
func (s *Sealer) commit(ctx context.Context, links []chain.Link) (done int, failed error) {
	for part := range slices.Chunk(links, commitLinks) {
		for i, err := range s.cfg.Chain.Append(ctx, part) {
			p, seg := part[i].Partition, part[i].Segment
			delete(s.tails, p)
			switch {
			case err == nil:
				s.tails[p] = tail{seg.Next, seg}
				done++
				s.count(func(st *Stats) { st.Segments++; st.Bytes += seg.Length; st.Records += seg.Records })
			case errors.Is(err, chain.ErrTaken):
				s.count(func(st *Stats) { st.Taken++ })
			default:
				failed = err
			}
		}
	}
	return done, failed
}

// noteLag counts what is rolled but not sealed.
func (s *Sealer) noteLag() {
	var bytes int64
	segs := s.unsealed()
	for _, seg := range segs {
		bytes += seg.Size
	}
	s.count(func(st *Stats) { st.LagSegments, st.LagBytes = len(segs), bytes })
}

// release drops sealed segments, oldest first, until the rest is within the disk
// budget. Damaged ones are left for an operator to look at.
func (s *Sealer) release() error {
	segs := s.cfg.Journal.Segments()
	var total int64
	for _, seg := range segs {
		total += seg.Size
	}
	for _, seg := range segs {
		if total <= s.cfg.DiskBudget || !s.isSealed(seg) {
			return nil
		}
		if seg.Damaged {
			continue
		}
		if err := s.cfg.Journal.Drop(seg.ID); err != nil {
			return fmt.Errorf("drop sealed hot segment %s: %w", seg.ID, err)
		}
		total -= seg.Size
		delete(s.sealed, seg.ID)
		s.count(func(st *Stats) { st.Dropped++; st.DroppedBytes += seg.Size })
	}
	return nil
}

func (s *Sealer) isSealed(seg journal.SegmentInfo) bool {
	_, ok := s.sealed[seg.ID]
	return ok
}
