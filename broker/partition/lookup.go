package partition

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/journal"
)

// decodeLimit bounds what a look-up decompresses of one batch, in bytes.
const decodeLimit = 256 << 20

// chainPage is how many chain items a look-up reads at a time.
const chainPage = 256

// Found is a record that a look-up by time found.
type Found struct {
	Offset    id.Offset
	Timestamp int64 // ms
	Epoch     id.Epoch
}

// FindTime returns the first record whose timestamp is at or above ts (ms) and
// that lies below limit, in whichever tier it is. ok is false if there is none.
func (l *Log) FindTime(ctx context.Context, ts int64, limit id.Offset) (f Found, ok bool, err error) {
	for v, err := range l.batchesFrom(ctx, ts) {
		if err != nil {
			return Found{}, false, fmt.Errorf("find time %d in %s: %w", ts, l.id, err)
		}
		if v.BaseOffset() >= limit {
			break
		}
		r, ok, err := batch.FirstAt(v, ts, l.Watermarks().Start, decodeLimit)
		if err != nil {
			return Found{}, false, fmt.Errorf("find time %d in %s at %d: %w", ts, l.id, v.BaseOffset(), err)
		}
		if ok {
			return Found{Offset: r.Offset, Timestamp: r.Timestamp, Epoch: v.LeaderEpoch()}, r.Offset < limit, nil
		}
	}
	return Found{}, false, nil
}

// FindMaxTime returns the first record that has the greatest timestamp below limit (KIP-734).
func (l *Log) FindMaxTime(ctx context.Context, limit id.Offset) (f Found, ok bool, err error) {
	greatest := int64(-1)
	for m, err := range l.maxTimestamps(ctx, limit) {
		if err != nil {
			return Found{}, false, fmt.Errorf("find the greatest timestamp of %s: %w", l.id, err)
		}
		if m.base < limit {
			greatest = max(greatest, m.ts)
		}
	}
	if greatest < 0 {
		return Found{}, false, nil
	}
	return l.FindTime(ctx, greatest, limit)
}

// batchesFrom yields, in order of offset, the batches whose greatest timestamp is
// at or above ts, from packs and hot segments.
func (l *Log) batchesFrom(ctx context.Context, ts int64) iter.Seq2[batch.View, error] {
	return func(yield func(batch.View, error) bool) {
		err := l.walk(ctx, func(seg chain.Segment) (bool, error) {
			if seg.MaxTimestamp < ts {
				return true, nil
			}
			for v, err := range l.tiers.Cold.Batches(ctx, l.id, seg, seg.Base) {
				if err != nil {
					return false, err
				}
				if v.MaxTimestamp() >= ts && !yield(v, nil) {
					return false, nil
				}
			}
			return true, nil
		}, func(e journal.Entry) (bool, error) {
			if e.MaxTimestamp < ts {
				return true, nil
			}
			v, err := l.tiers.Hot.Batch(l.id, e)
			return err == nil && yield(v, nil), err
		})
		if err != nil {
			yield(nil, err)
		}
	}
}

// walk visits the sealed segments, those in the WAL objects of earlier leaders behind
// them, and then the hot batches, until a visit returns false or an error. What is sealed
// and dropped meanwhile is gone on with in the chain, which was written before, and so is a
// segment that was replaced and collected: so only several rounds that get nowhere say that it is gone.
func (l *Log) walk(ctx context.Context, sealed func(chain.Segment) (bool, error), hot func(journal.Entry) (bool, error)) error {
	for at, tries := l.Watermarks().Start, 0; at < l.Watermarks().End; tries++ {
		if err := l.learnCleaned(ctx, at); err != nil {
			return err
		}
		from := at
		more, err := l.look(ctx, &at, tries < walkTries, sealed, hot)
		gone := errors.Is(err, journal.ErrNotHot) || errors.Is(err, objstore.ErrNotFound)
		if errors.Is(err, objstore.ErrNotFound) {
			l.unlearn(at + 1)
		}
		if !gone && (err != nil || !more) || at == from && tries >= walkTries {
			return err
		}
	}
	return nil
}

// look is one round of walk, from at on, which it moves along. With strict, offsets missing in
// the hot tier are an error: what is between was sealed since.
func (l *Log) look(
	ctx context.Context, at *id.Offset, strict bool, sealed func(chain.Segment) (bool, error), hot func(journal.Entry) (bool, error),
) (more bool, err error) {
	for seg, err := range l.sealed(ctx, *at) {
		if err != nil {
			return false, err
		}
		if more, err := sealed(seg); !more {
			return false, err
		}
		*at = seg.Next
	}
	for _, seg := range l.adoptedFrom(*at) {
		if more, err := sealed(seg); !more {
			return false, err
		}
		*at = seg.Next
	}
	for e, err := range l.tiers.Hot.Entries(l.id, *at) {
		if err == nil && e.Base > *at && strict {
			err = fmt.Errorf("offset %d of %s: %w", *at, l.id, journal.ErrNotHot)
		}
		if err != nil {
			return false, err
		}
		if more, err := hot(e); !more {
			return false, err
		}
		*at = e.Next
	}
	return true, nil
}

// walkTries is how often a walk looks again that got nowhere.
const walkTries = 3

// sealed yields the segments of the chain from the one that holds offset from on.
func (l *Log) sealed(ctx context.Context, from id.Offset) iter.Seq2[chain.Segment, error] {
	return func(yield func(chain.Segment, error) bool) {
		if seg, ok := l.cleanedAt(from); ok {
			if !yield(seg, nil) {
				return
			}
			from = seg.Next
		}
		for {
			page, err := l.tiers.Chain.Segments(ctx, l.id, from, chainPage)
			if err != nil {
				yield(chain.Segment{}, err)
				return
			}
			for _, seg := range page {
				if !yield(seg, nil) {
					return
				}
				from = seg.Next
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

type maxTimestamp struct {
	base id.Offset
	ts   int64 // ms
}

// maxTimestamps yields the greatest timestamp of each sealed segment and of each hot batch behind
// them, as far as they lie below limit.
func (l *Log) maxTimestamps(ctx context.Context, limit id.Offset) iter.Seq2[maxTimestamp, error] {
	return func(yield func(maxTimestamp, error) bool) {
		err := l.walk(ctx,
			func(seg chain.Segment) (bool, error) {
				start := l.Watermarks().Start
				if seg.Base >= limit {
					return false, nil
				}
				if seg.Base < start || seg.Next > limit {
					m, err := l.maxBetween(ctx, seg, start, limit)
					return err == nil && yield(m, nil), err
				}
				return yield(maxTimestamp{seg.Base, seg.MaxTimestamp}, nil), nil
			},
			func(e journal.Entry) (bool, error) {
				if start := l.Watermarks().Start; e.Base < start {
					v, err := l.tiers.Hot.Batch(l.id, e)
					if err != nil {
						return false, err
					}
					ts, err := maxInBatch(v, start)
					return err == nil && yield(maxTimestamp{start, ts}, nil), err
				}
				return yield(maxTimestamp{e.Base, e.MaxTimestamp}, nil), nil
			})
		if err != nil {
			yield(maxTimestamp{}, err)
		}
	}
}

// HotStart is the first offset that the hot tier holds (ListOffsets -4), or the log end.
func (l *Log) HotStart() id.Offset {
	if start, ok := l.tiers.Hot.HotStart(l.id); ok {
		return max(start, l.Watermarks().Start)
	}
	return l.Watermarks().End
}

// SealedEnd is the offset behind the last sealed record, or the log start if that is above (ListOffsets -5 is the one before it).
func (l *Log) SealedEnd(ctx context.Context) (id.Offset, error) {
	end, _, _, err := l.tiers.Chain.End(ctx, l.id)
	if err != nil {
		return 0, fmt.Errorf("find the end of what is sealed of %s: %w", l.id, err)
	}
	return max(end, l.Watermarks().Start), nil
}
