package partition

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
)

// Which transactions were aborted is told by the footers of the packs for the markers that
// are sealed, and by abortedTxns for those from its floor on. What is sealed is dropped from
// memory once it is not hot any more, so that neither reads of what is hot ask the chain, nor
// memory grows with the log.

// abortedTxns are the aborted transactions whose markers lie at floor or above.
type abortedTxns struct {
	floor id.Offset
	txns  []producers.AbortedTxn // in the order of their markers
}

func (a *abortedTxns) add(t producers.AbortedTxn) { a.txns = append(a.txns, t) }

// raise drops the transactions whose markers lie below floor.
func (a *abortedTxns) raise(floor id.Offset) {
	if floor <= a.floor {
		return
	}
	a.floor = floor
	n := 0
	for n < len(a.txns) && a.txns[n].Last < floor {
		n++
	}
	a.txns = slices.Clone(a.txns[n:])
}

// overlaps reports whether a reader of the offsets [from, upto) has to know of t.
func overlaps(t producers.AbortedTxn, from, upto id.Offset) bool {
	return t.First < upto && t.Last >= from
}

// abortedIn returns the aborted transactions that overlap the offsets [from, upto), which lie
// below the last stable offset, in the order of their first offsets.
func (l *Log) abortedIn(ctx context.Context, from, upto id.Offset) ([]producers.AbortedTxn, error) {
	if seeded.Enabled(seeded.AbortedList) {
		return nil, nil
	}
	var txns []producers.AbortedTxn
	l.mu.Lock()
	floor := l.aborted.floor
	for _, t := range l.aborted.txns {
		if overlaps(t, from, upto) {
			txns = append(txns, t)
		}
	}
	l.mu.Unlock()
	if from < floor {
		sealed, err := l.sealedAborted(ctx, from, upto, floor)
		if err != nil {
			return nil, fmt.Errorf("find the aborted transactions of %s in [%d, %d): %w", l.id, from, upto, err)
		}
		txns = append(txns, sealed...)
	}
	slices.SortFunc(txns, func(a, b producers.AbortedTxn) int { return cmp.Compare(a.First, b.First) })
	return txns, nil
}

// sealedAborted is the part of abortedIn that has markers below floor. It looks into the packs
// from the one that holds from on, as long as a transaction is open at the end of a run that
// began below upto: the next runs tell how that ended. A segment without an object tells
// nothing, and ended none.
func (l *Log) sealedAborted(ctx context.Context, from, upto, floor id.Offset) (txns []producers.AbortedTxn, err error) {
	look := func(seg chain.Segment) (more bool, err error) {
		if seg.Empty() {
			return seg.Next < floor, nil
		}
		run, err := l.sealedRun(ctx, seg)
		if err != nil {
			return false, err
		}
		for _, t := range run.Aborted {
			if overlaps(t, from, upto) && t.Last < floor {
				txns = append(txns, t)
			}
		}
		return seg.Next < floor && (seg.Next < upto || reaches(run, upto)), nil
	}
	err = l.inSealed(ctx, from, func(seg chain.Segment) error { // as a rule the read has just been there
		txns = nil
		more, err := look(seg)
		if !more {
			return err
		}
		for seg, err := range l.sealed(ctx, seg.Next) {
			if err != nil {
				return err
			}
			if more, err := look(seg); !more {
				return err
			}
		}
		return nil
	})
	return txns, err
}

// reaches reports whether a transaction is open at the end of run that began below upto.
func reaches(run *pack.Run, upto id.Offset) bool {
	return slices.ContainsFunc(run.Producers, func(s producers.State) bool { return s.TxnStart >= 0 && s.TxnStart < upto })
}

// sealedRun returns what the footer of a segment's pack tells of it.
func (l *Log) sealedRun(ctx context.Context, seg chain.Segment) (*pack.Run, error) {
	footer, err := l.tiers.Cold.Footer(ctx, seg.Object, seg.ObjectSize)
	if err != nil {
		return nil, err
	}
	run, ok := footer.Run(l.id)
	if !ok {
		return nil, fmt.Errorf("pack %s has no run of %s", seg.Object, l.id)
	}
	return run, nil
}

// forgetAborted drops the aborted transactions that the chain, which reaches up to end, has
// in its footers, save for those that are still hot.
func (l *Log) forgetAborted(end id.Offset) {
	if hot, ok := l.tiers.Hot.HotStart(l.id); ok {
		end = min(end, hot)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aborted.raise(end)
}

// holdsAborted reports whether there are aborted transactions in memory.
func (l *Log) holdsAborted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.aborted.txns) > 0
}

// ForgetAborted drops from memory the aborted transactions that are sealed. It is for
// seal.Config.AfterPass, and sealedTo is what that is given.
func (s *Set) ForgetAborted(ctx context.Context, sealedTo func(context.Context, id.Partition) (id.Offset, error)) error {
	for l := range s.All() {
		if !l.holdsAborted() {
			continue
		}
		end, err := sealedTo(ctx, l.id)
		if err != nil {
			return fmt.Errorf("forget sealed transactions of %s: %w", l.id, err)
		}
		l.forgetAborted(end)
	}
	return nil
}
