package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/slotlog"
	"github.com/forebaylog/forebay/infra/stores"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/wal"
)

// ErrForeign says that the object store and the metadata are of different clusters, or there is no
// cluster at all.
var ErrForeign = errors.New("object store and metadata do not belong together")

// readers is how many chains are read at once.
const readers = 32

// identities are the names of the objects that say which cluster a store belongs to.
var identities = []string{stores.Identity, wal.ObjectPrefix + stores.Identity}

// checkCluster makes sure that the metadata is that of the objects: without any everything would be
// superfluous.
func (r *run) checkCluster(ctx context.Context, p place, image *metalog.Image) error {
	if image.ClusterID() == "" {
		return fmt.Errorf("%w: the metadata is empty", ErrForeign)
	}
	marked := false
	for _, name := range identities {
		found := make([]byte, 256)
		n, err := p.store.ReadAt(ctx, name, found, 0)
		if errors.Is(err, objstore.ErrNotFound) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("find out which cluster the store belongs to: %w", err)
		}
		if id := string(found[:n]); id != image.ClusterID() {
			return fmt.Errorf("%w: object %q says cluster %q, the metadata is of %q", ErrForeign, name, id, image.ClusterID())
		}
		marked = true
	}
	if marked {
		return nil
	}
	return r.checkUnmarked(ctx, p, image)
}

// checkUnmarked lets a store pass that does not say whose it is, if it is empty and the caller knows which cluster it is for.
func (r *run) checkUnmarked(ctx context.Context, p place, image *metalog.Image) error {
	if r.cfg.Cluster == image.ClusterID() {
		for info, err := range p.store.List(ctx, "", "") {
			if err != nil {
				return err
			}
			if !isOwn(info.Key) {
				return fmt.Errorf("%w: there is no object %q or %q, but there is %q; if the store is of cluster %q, start one of its brokers, which marks it",
					ErrForeign, identities[0], identities[1], info.Key, image.ClusterID())
			}
		}
		return nil
	}
	return fmt.Errorf("%w: there is no object %q or %q to say which cluster the store is of; make sure that it is that of cluster %q, and start one of its brokers, which marks it",
		ErrForeign, identities[0], identities[1], image.ClusterID())
}

// chainOf is what was read of a chain.
type chainOf struct {
	p     id.Partition
	items []chain.Item
	err   error
}

// readChains notes the names that chains use and, if mark is set, marks superfluous items.
func (r *run) readChains(ctx context.Context, s *state, w *window, image *metalog.Image, ps []id.Partition, mark bool) error {
	var gone []id.Partition
	for start := 0; start < len(ps); start += readers {
		for _, c := range r.readSome(ctx, ps[start:min(start+readers, len(ps))]) {
			if c.err != nil && !damagedChain(c.err) {
				return c.err
			}
			keep, spare, err := r.judgeChain(image, c)
			if err != nil {
				if mark {
					r.damaged("the chain of "+c.p.String(), err)
				}
				s.packs = err
			}
			for _, item := range keep {
				if w.holds(item.Object) {
					s.kept.add(item.Object, item.Length+runOverhead)
				}
			}
			if !mark {
				continue
			}
			if r.isGone(image, c.p) {
				gone = append(gone, c.p)
			}
			if err := r.markItems(c.p, keep, spare); err != nil {
				return err
			}
		}
		r.cfg.Progress("chains read", int64(min(start+readers, len(ps))))
	}
	for _, p := range gone {
		r.report.Chains.Superfluous++
		if _, err := r.mark(chainKey(p), 0); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) readSome(ctx context.Context, ps []id.Partition) []chainOf {
	read := make([]chainOf, len(ps))
	var wg sync.WaitGroup
	for i, p := range ps {
		wg.Go(func() {
			read[i].p = p
			read[i].items, read[i].err = r.c.chains.Items(ctx, p)
		})
	}
	wg.Wait()
	return read
}

func damagedChain(err error) bool {
	return errors.Is(err, chain.ErrCorrupt) || errors.Is(err, chain.ErrVersion)
}

func (r *run) isGone(image *metalog.Image, p id.Partition) bool {
	_, exists := image.TopicByID(p.Topic)
	return !exists
}

// judgeChain tells the items that count from the superfluous ones. With an error all that
// could be read count.
func (r *run) judgeChain(image *metalog.Image, c chainOf) (keep, superfluous []chain.Item, err error) {
	if r.isGone(image, c.p) {
		return nil, c.items, nil // also if it is damaged: nobody will miss it
	}
	if c.err != nil {
		return c.items, nil, c.err
	}
	state, _ := image.Partition(c.p) // of a partition that is not there all counts
	return judgeItems(c.items, state.Start)
}

// judgeItems does so for the chain of a partition that lives. Of what is spare these are
// kept: the last item, which says where the chain goes on, and those that reach beyond the
// one that covers their beginning. The latter come from two rewriters at once, and count
// when the log start has moved beyond the other one's end: nothing may rely on that one of
// them goes, if later another is superfluous because of it.
func judgeItems(items []chain.Item, start id.Offset) (keep, superfluous []chain.Item, err error) {
	canonical, spare, err := chain.Canonical(items, start)
	if err != nil || len(spare) == 0 {
		return canonical, nil, err
	}
	keep = canonical
	for _, item := range spare {
		end := start // below the log start
		if i := sort.Search(len(canonical), func(i int) bool { return canonical[i].Base > item.Base }) - 1; i >= 0 {
			end = canonical[i].Next
		}
		if item.Next > end || item.Base == items[len(items)-1].Base {
			keep = append(keep[:len(keep):len(keep)], item)
		} else {
			superfluous = append(superfluous, item)
		}
	}
	return keep, superfluous, nil
}

func (r *run) markItems(p id.Partition, keep, superfluous []chain.Item) error {
	r.report.Items.Kept += int64(len(keep))
	r.report.Items.Superfluous += int64(len(superfluous))
	for _, item := range superfluous {
		due, err := r.mark(itemKey(p, item), 0)
		if err != nil {
			return err
		}
		if !due && !item.Empty() {
			r.waiting.add(item.Object)
		}
	}
	return nil
}

// readStreams notes the names that the slots of the streams use.
func (r *run) readStreams(ctx context.Context, s *state, w *window, image *metalog.Image) error {
	streams := image.Streams()
	s.streams = make(map[id.Session]bool, len(streams))
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, stream := range streams {
		g.Go(func() error {
			names, over, err := readStream(ctx, r.cfg.Metadata, stream.Session)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, wal.ErrCorrupt), errors.Is(err, wal.ErrVersion), errors.Is(err, kv.ErrCorrupt):
				r.damaged("the stream of "+stream.Session.String(), err)
				over = false
			case err != nil:
				return err
			}
			s.streams[stream.Session] = over
			for _, name := range names {
				if w.holds(name) {
					s.kept.add(name, 0)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// streamAttempts is how often the slots are read of a stream that is written or released.
const streamAttempts = 5

// readStream returns the names that the slots of a stream use, and whether it has ended.
func readStream(ctx context.Context, table kv.Store, session id.Session) (names []string, over bool, err error) {
	slots := wal.Slots(table, session)
	for range streamAttempts {
		names, over, err = readSlots(ctx, slots)
		if !errors.Is(err, slotlog.ErrTruncated) && !errors.Is(err, wal.ErrCorrupt) {
			break // else slots may have been taken or removed while they were read
		}
	}
	return names, over, err
}

func readSlots(ctx context.Context, slots *slotlog.Log) (names []string, over bool, err error) {
	first, err := slots.First(ctx)
	if err != nil {
		return nil, false, err
	}
	raw, err := slots.Read(ctx, first, 0)
	if err != nil {
		return nil, false, err
	}
	for i, slot := range raw {
		if i > 0 && slot.Seq != raw[i-1].Seq+1 {
			return nil, false, fmt.Errorf("slot %d: %w: it is missing", raw[i-1].Seq+1, wal.ErrCorrupt)
		}
		s, err := wal.DecodeSlot(slot.Payload)
		if err != nil {
			return nil, false, fmt.Errorf("slot %d: %w", slot.Seq, err)
		}
		for _, o := range s.Objects {
			names = append(names, o.Name)
		}
		if s.Index != nil {
			names = append(names, s.Index.Name)
		}
		over = over || s.Fence != nil
	}
	return names, over, nil
}
