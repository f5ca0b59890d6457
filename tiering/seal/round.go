package seal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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

var (
	// errStalled is returned when other sealers are faster, again and again.
	errStalled = errors.New("another sealer is always faster")
	// errNotValid is returned when the broker may have lost what it leads.
	errNotValid = errors.New("the session is not valid: nothing may be sealed")
	errNotLive  = errors.New("the partition is not led here any more")
)

// pass is one round: it seals what is rolled and then releases what it may. What
// cannot be sealed keeps its hot segments and is reported.
func (s *Sealer) pass(ctx context.Context) error {
	skip := map[id.Partition]error{}
	err := s.sealRolled(ctx, skip)
	s.noteLag()
	if err == nil {
		err = s.afterPass(ctx)
	}
	return errors.Join(s.release(), skipped(skip), err)
}

func (s *Sealer) sealRolled(ctx context.Context, skip map[id.Partition]error) error {
	if s.Paused() {
		s.markSealed(ctx, s.unsealed(), skip)
		return ctx.Err()
	}
	g := newGatherer(s.cfg.FS, s.cfg.Journal)
	defer g.close()
	return s.drain(ctx, g, skip, func() plan {
		s.markSealed(ctx, s.unsealed(), skip)
		segs := s.unsealed()
		g.see(segs)
		return s.plan(segs, skip)
	})
}

// drain seals one plan after the other until there is nothing in the next one. Partitions
// that could not be sealed are in skip then.
func (s *Sealer) drain(ctx context.Context, src source, skip map[id.Partition]error, next func() plan) error {
	for stalls := 0; stalls < maxStalls; {
		pl := next()
		if len(pl.runs) == 0 || s.Paused() || ctx.Err() != nil {
			return ctx.Err()
		}
		progress, err := s.sealOne(ctx, src, &pl, skip)
		if err != nil {
			return err
		}
		if stalls++; progress {
			stalls = 0
		}
	}
	return errStalled
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
func (s *Sealer) sealOne(ctx context.Context, src source, pl *plan, skip map[id.Partition]error) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, chain.CommitWithin)
	defer cancel()
	known := len(skip)
	name := chain.NewObjectName(s.cfg.Node, s.cfg.Now())
	footer, size, err := s.upload(ctx, src, pl, name, skip)
	if errors.Is(err, errNoRuns) {
		return len(skip) > known, nil
	}
	if err != nil {
		return false, err
	}
	s.count(func(st *Stats) { st.Packs++ })
	links := make([]chain.Link, len(footer.Runs))
	for i := range footer.Runs {
		// A run begins where its chain once ended: at its tail.
		seg := chain.SegmentOf(&footer.Runs[i], name, size)
		seg.Sealed = footer.Created.UnixMilli()
		links[i] = chain.Link{Partition: footer.Runs[i].Partition, Segment: seg, AtEnd: true}
	}
	done, err := s.commit(ctx, links, skip)
	return done > 0 || len(skip) > known, err
}

// commit appends links to the chains and returns how many are there now. It adds to skip
// those that the table failed. That others took a place is no error: the next plan
// starts from where they ended. Those that are led by others now are left out, and so are those whose
// tails were seen too long ago.
func (s *Sealer) commit(ctx context.Context, links []chain.Link, skip map[id.Partition]error) (done int, err error) {
	for part := range slices.Chunk(links, commitLinks) {
		part = slices.DeleteFunc(part, func(l chain.Link) bool {
			late := s.old(s.tails[l.Partition], chain.CommitWithin)
			if late {
				delete(s.tails, l.Partition)
			}
			return late || !s.cfg.Live(l.Partition)
		})
		switch now := s.clock(); {
		case ctx.Err() != nil:
			return done, fmt.Errorf("append %d segments to their chains: %w", len(part), context.Cause(ctx))
		case !s.cfg.Valid():
			return done, errNotValid
		default:
			done += s.append(ctx, part, now, skip)
		}
	}
	return done, nil
}

// append appends links of different partitions.
func (s *Sealer) append(ctx context.Context, links []chain.Link, now time.Time, skip map[id.Partition]error) (done int) {
	for i, err := range s.cfg.Chain.Append(ctx, links) {
		p, seg := links[i].Partition, links[i].Segment
		delete(s.tails, p)
		switch {
		case err == nil:
			s.tails[p] = tail{seg.Next, seg, now}
			done++
			s.cfg.Sealed(p, seg)
			s.count(func(st *Stats) { st.Segments++; st.Bytes += seg.Length; st.Records += seg.Records })
		case errors.Is(err, chain.ErrTaken):
			s.count(func(st *Stats) { st.Taken++ })
		default:
			skip[p] = err
		}
	}
	return done
}

// noteLag counts what is rolled but not sealed, and looks for the oldest of what is not sealed.
func (s *Sealer) noteLag() {
	var bytes int64
	var segments int
	var oldest time.Time
	for _, seg := range s.cfg.Journal.Segments() {
		if s.isSealed(seg) || !holdsAny(seg) {
			continue
		}
		if oldest.IsZero() {
			oldest = seg.Created
		}
		if seg.Rolled {
			segments++
			bytes += seg.Size
		}
	}
	s.count(func(st *Stats) { st.LagSegments, st.LagBytes, st.Oldest = segments, bytes, oldest })
}

// release drops sealed segments, oldest first, until the rest is within the disk
// budget and somebody wants the next one. Damaged ones are left for an operator to look at.
func (s *Sealer) release() error {
	segs := s.cfg.Journal.Segments()
	var total int64
	for _, seg := range segs {
		total += seg.Size
	}
	if len(segs) == 0 || !s.isSealed(segs[0]) {
		return nil
	}
	unwanted := s.cfg.Unwanted(segs)
	for i, seg := range segs {
		if total <= s.DiskBudget() && i >= unwanted || !s.isSealed(seg) {
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
