package compact

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// errSmall: not even one batch fits into the map.
var errSmall = errors.New("the map of keys cannot hold those of one batch: raise log.cleaner.dedupe.buffer.size or give it a directory")

// index makes the map of the dirty part's keys, sets where it ends, and divides what lies below into groups.
func (r *pass) index(ctx context.Context) {
	if r.err != nil {
		return
	}
	keys, err := NewKeyMap(r.cfg.Keys, r.records())
	if err != nil {
		r.fail(err)
		return
	}
	r.keys = keys
	err = r.indexInto(ctx, keys)
	if err == nil {
		err = keys.Seal()
	}
	if err == nil && r.to <= r.stats.Dirty {
		err = errSmall
	}
	r.fail(err)
	r.cleaner = NewCleaner(Rules{
		Keys: keys, Dirty: r.stats.Dirty, End: r.to, Last: r.items[len(r.items)-1].Next - 1, Aborted: r.aborted, Now: r.now, Horizon: r.horizon, scratch: r.cfg.scratch,
	})
	r.left = r.groups()
	r.items, r.aborted = nil, nil
}

func (r *pass) indexInto(ctx context.Context, keys *KeyMap) error {
	r.to = r.stats.Dirty
	txns := newTransactions(slices.DeleteFunc(slices.Clone(r.aborted), func(a producers.AbortedTxn) bool { return a.Last < r.stats.Dirty }))
	for _, item := range r.dirty() {
		for v, err := range r.cfg.Cold.Batches(ctx, r.p, item.Segment, max(item.Base, r.stats.Dirty)) {
			if err == nil {
				err = r.cfg.Rewriter.Wait(ctx, v.Length())
			}
			if err != nil {
				return err
			}
			r.stats.MapBytesRead += int64(len(v))
			r.stats.MapMessagesRead += int64(v.Records())
			full, err := indexBatch(keys, txns, v, r.stats.Dirty)
			if err != nil {
				return fmt.Errorf("map the keys of the batch at offset %d: %w", v.BaseOffset(), err)
			}
			if full {
				return nil
			}
			r.to = v.NextOffset()
		}
	}
	r.to = r.stats.End
	return nil
}

// indexBatch puts the keys of a batch into the map, unless it was aborted: full if they do not fit.
func indexBatch(keys *KeyMap, txns *transactions, v batch.View, from id.Offset) (full bool, err error) {
	aborted, err := txns.discard(v)
	if err != nil || aborted || v.IsControl() {
		return false, err
	}
	for rec, err := range batch.Decode(v, 0) {
		if err != nil {
			return false, err
		}
		if rec.Key == nil || rec.Offset < from {
			continue
		}
		ok, err := keys.Put(rec.Key, rec.Offset)
		if err != nil || !ok {
			return !ok, err
		}
	}
	return false, nil
}
