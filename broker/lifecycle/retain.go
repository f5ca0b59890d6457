package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/producers"
)

// maxMoves is how many log starts one record moves: below what a slot of the metadata log holds.
const maxMoves = 1000

// moveTime bounds the writing of one record: the metadata log, which goes on trying as long as it is let, lets
// nobody else write meanwhile, and a broker that stops or whose table is away must not wait for it.
const moveTime = 30 * time.Second

// looked is what retention has found of a partition.
type looked struct {
	epoch id.Epoch // of the leader, as the decision was made
	start id.Offset
	to    id.Offset // where the log shall start; start or above
	chain Chain
}

// Retain moves the log starts of ps as far as their retention asks for, and forgets the last segment of
// those of which all has gone. Partitions that are gone, or without a chain, are passed over. One
// that fails does not hold up the others.
//
// Commit points: the slot with a LogStartsMoved of up to 1,000 of the partitions, each of which it
// moves only under the leader epoch of the decision; and chain.Replace of a last segment. A crash before them changes
// nothing, and the next call does it.
func (k *Keeper) Retain(ctx context.Context, ps []id.Partition) error {
	ctx, cancel := context.WithTimeout(ctx, chain.CommitWithin)
	defer cancel()
	found, unsealed := make([]*looked, len(ps)), k.cfg.Unsealed()
	err := each(ctx, "look at what retention asks for", ps, func(ctx context.Context, i int, p id.Partition) (err error) {
		found[i], err = k.look(ctx, p, unsealed)
		return err
	})
	var moves []metalog.StartMove
	for i, l := range found {
		if l != nil && l.to > l.start {
			moves = append(moves, metalog.StartMove{Partition: ps[i], Epoch: l.epoch, Start: l.to})
		}
	}
	for part := range slices.Chunk(moves, maxMoves) {
		moveErr := k.move(ctx, part)
		if err = errors.Join(err, moveErr); moveErr != nil {
			break // those that follow would wait as long
		}
	}
	k.tell(ps, found)
	return errors.Join(err, each(ctx, "empty chains", ps, func(ctx context.Context, i int, p id.Partition) error {
		if found[i] == nil {
			return nil
		}
		return k.empty(ctx, p, found[i])
	}))
}

// look decides what is to be done with p, from what its chain is now if there is anything; nil if there is nothing.
func (k *Keeper) look(ctx context.Context, p id.Partition, unsealed func(id.Partition, id.Offset) int64) (*looked, error) {
	img := k.cfg.Image()
	state, ok := img.Partition(p)
	topic, known := img.TopicByID(p.Topic)
	if !ok || !known {
		return nil, nil //nolint:nilnil // nothing to be decided is no failure
	}
	l := &looked{epoch: state.Epoch, start: state.Start}
	for _, look := range []func(context.Context, id.Partition, id.Offset) (Chain, error){k.cfg.Chains.Get, k.cfg.Chains.Read} {
		var err error
		if l.chain, err = look(ctx, p, state.Start); err != nil {
			return nil, fmt.Errorf("retention of %s: %w", p, err)
		}
		l.to = Start(segments(l.chain.Items), k.cfg.Topic(topic), state.Start, k.cfg.Now(), unsealed(p, l.chain.End()))
		if l.to == l.start && !k.empties(l) {
			return nil, nil //nolint:nilnil // likewise
		}
	}
	return l, nil
}

// empties reports whether the last segment of a log of which nothing is left may be emptied, as far as is known.
func (k *Keeper) empties(l *looked) bool {
	l.chain.notes.mu.Lock()
	defer l.chain.notes.mu.Unlock()
	return !l.chain.Last.Empty() && l.start >= l.chain.End() && !k.cfg.Now().Before(l.chain.notes.emptyFrom)
}

func segments(items []chain.Item) []chain.Segment {
	segs := make([]chain.Segment, len(items))
	for i, item := range items {
		segs[i] = item.Segment
	}
	return segs
}

// move appends one record with those moves that still count.
func (k *Keeper) move(ctx context.Context, moves []metalog.StartMove) error {
	ctx, cancel := context.WithTimeout(ctx, moveTime)
	defer cancel()
	_, err := k.cfg.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
		var still []metalog.StartMove
		for _, m := range moves {
			if state, ok := img.Partition(m.Partition); ok && state.Epoch == m.Epoch && state.Start < m.Start {
				still = append(still, m)
			}
		}
		if len(still) == 0 {
			return nil, nil
		}
		return []metalog.Record{metalog.LogStartsMoved{Moves: still}}, nil
	})
	if err != nil {
		return fmt.Errorf("move the log starts of %d partitions: %w", len(moves), err)
	}
	return nil
}

// tell counts and logs the log starts that were moved.
func (k *Keeper) tell(ps []id.Partition, found []*looked) {
	img := k.cfg.Image()
	var s Stats
	for i, l := range found {
		if state, ok := img.Partition(ps[i]); l == nil || l.to == l.start || !ok || state.Start < l.to {
			continue
		}
		s.Moved++
		for _, seg := range l.chain.Items {
			if seg.Next <= l.to {
				s.RetainedBytes += seg.Length
				s.RetainedRecords += seg.Records
			}
		}
	}
	if s.Moved == 0 {
		return
	}
	k.cfg.Logger.Info("retention moved log starts", "partitions", s.Moved, "bytes", s.RetainedBytes, "records", s.RetainedRecords)
	k.count(func(all *Stats) {
		all.Moved += s.Moved
		all.RetainedBytes += s.RetainedBytes
		all.RetainedRecords += s.RetainedRecords
	})
}

// empty puts a segment without an object in the place of the last one of a log of which nothing is
// left, so that its object may go, once no producer has to be known from it.
func (k *Keeper) empty(ctx context.Context, p id.Partition, l *looked) error {
	last := l.chain.Last
	state, ok := k.cfg.Image().Partition(p)
	if !ok || last.Empty() || state.Start < last.Next {
		return nil
	}
	footer, err := k.cfg.Cold.Footer(ctx, last.Object, last.ObjectSize)
	if err != nil {
		return fmt.Errorf("empty the chain of %s: %w", p, err)
	}
	run, ok := footer.Run(p)
	if !ok {
		return fmt.Errorf("empty the chain of %s: object %s has no run of it: %w", p, last.Object, chain.ErrCorrupt)
	}
	from, now := k.forgotten(run.Producers, last.Sealed), k.cfg.Now()
	l.chain.notes.mu.Lock()
	l.chain.notes.emptyFrom = from
	l.chain.notes.mu.Unlock()
	if now.Before(from) || !k.cfg.Valid() {
		return nil
	}
	err = k.cfg.Chains.store.Replace(ctx, p, []chain.Item{last}, chain.Segment{
		Base: last.Base, Next: last.Next, MaxTimestamp: -1, FirstEpoch: last.LastEpoch, LastEpoch: last.LastEpoch,
		Sealed: now.UnixMilli(), CleanedTo: last.CleanedTo,
	})
	k.cfg.Chains.Forget(p)
	switch {
	case errors.Is(err, chain.ErrChanged):
		return nil
	case err != nil:
		return err
	}
	k.count(func(s *Stats) { s.Emptied++ })
	return nil
}

// never is when what has no end is over.
var never = time.UnixMilli(1 << 53)

// forgotten is when none of the producers is remembered any more that a pack of the time sealed tells of.
func (k *Keeper) forgotten(states []producers.State, sealed int64) (from time.Time) {
	for _, s := range states {
		if s.TxnStart >= 0 {
			return never
		}
		seen := time.UnixMilli(cmp.Or(s.LastSeen, sealed)).Add(k.cfg.ProducerExpiry + time.Millisecond)
		if seen.After(from) {
			from = seen
		}
	}
	return from
}
