package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/pause"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/tiering/chain"
)

// removers is how many objects are removed at once.
const removers = 16

// itemsAtOnce is how many items of a chain are removed in one write.
const itemsAtOnce = 100

func chainKey(p id.Partition) string {
	return fmt.Sprintf("%s%s/%010d", kindChain, p.Topic, p.Index)
}

func itemKey(p id.Partition, item chain.Item) string {
	return fmt.Sprintf("%s%s/%010d/%020d/%s", kindItem, p.Topic, p.Index, int64(item.Base), item.Version)
}

// parseChain reads what chainKey and itemKey wrote; rest is what is behind the partition.
func parseChain(key string) (p id.Partition, rest string, err error) {
	topic, rest, _ := strings.Cut(key[1:], "/")
	index, rest, _ := strings.Cut(rest, "/")
	if p.Topic, err = id.ParseTopic(topic); err != nil {
		return p, "", err
	}
	n, err := strconv.ParseInt(index, 10, 32)
	p.Index = int32(n)
	return p, rest, err
}

// parseItem reads what itemKey wrote.
func parseItem(key string) (p id.Partition, item chain.Item, err error) {
	p, rest, err := parseChain(key)
	if err != nil {
		return p, item, err
	}
	base, version, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseInt(base, 10, 64)
	item.Base, item.Version = id.Offset(n), kv.Version(version)
	return p, item, err
}

// isDue reports whether a thing that is superfluous now has been so for long enough.
func (r *run) isDue(m mark) bool {
	if seeded.Enabled(seeded.CollectorGrace) {
		return true
	}
	return m.since != 0 && !time.UnixMilli(m.since).Add(r.cfg.Grace).After(r.began) || r.cfg.Grace < 0
}

// waits reports whether it is an object that items name which stay for now.
func (r *run) waits(m mark) bool { return m.key[:1] == kindObject && r.waiting.has(m.key[1:]) }

// remove removes what is due: items of chains, then what stands for the chains of topics that
// are gone, then objects. If an item cannot be removed, no object is: whoever finds the item
// finds its records.
func (r *run) remove(ctx context.Context) error {
	encoded, err := r.marks.finish()
	if err != nil || encoded == nil {
		return err
	}
	marks, err := openMarks(encoded)
	if err != nil {
		return err
	}
	r.waiting.finish()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(removers)
	rm := &removal{r: r, objects: group, every: interval(r.cfg.Rate)}
	for err == nil {
		var m mark
		if m, err = marks.next(); err == nil && r.isDue(m) && !r.waits(m) {
			err = rm.take(groupCtx, m)
		}
	}
	if errors.Is(err, io.EOF) {
		err = rm.flush(groupCtx)
	}
	if failed := group.Wait(); failed != nil { // it has ended groupCtx
		return failed
	}
	return err
}

// removal is the removals under way.
type removal struct {
	r       *run
	objects *errgroup.Group

	partition id.Partition
	items     []chain.Item // of partition, to be removed

	every time.Duration // from one removal to the next
	next  time.Time
	done  atomic.Int64

	mu sync.Mutex // guards the report
}

// interval is the time between removals at a rate per second.
func interval(rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / rate)
}

// wait waits for the turn of n removals.
func (rm *removal) wait(ctx context.Context, n int) error {
	if rm.every == 0 {
		return ctx.Err()
	}
	now := time.Now()
	if rm.next.Before(now) {
		rm.next = now
	}
	wait := rm.next.Sub(now)
	rm.next = rm.next.Add(time.Duration(n) * rm.every)
	return pause.For(ctx, wait)
}

// take removes what is marked, or puts it among what is removed together.
func (rm *removal) take(ctx context.Context, m mark) error {
	rm.r.report.Due++
	if rm.r.cfg.DryRun {
		return nil
	}
	if strings.HasPrefix(m.key, kindItem) {
		p, item, err := parseItem(m.key)
		if err != nil {
			return err
		}
		if p != rm.partition || len(rm.items) == itemsAtOnce {
			if err := rm.flush(ctx); err != nil {
				return err
			}
		}
		rm.partition, rm.items = p, append(rm.items, item)
		return nil
	}
	if err := rm.flush(ctx); err != nil {
		return err
	}
	if strings.HasPrefix(m.key, kindChain) {
		return rm.forget(ctx, m.key)
	}
	if err := rm.wait(ctx, 1); err != nil {
		return err
	}
	rm.objects.Go(func() error { return rm.object(ctx, m) })
	return nil
}

// flush removes the items that are together.
func (rm *removal) flush(ctx context.Context) error {
	if len(rm.items) == 0 {
		return nil
	}
	if err := rm.wait(ctx, len(rm.items)); err != nil {
		return err
	}
	if err := rm.r.c.chains.Remove(ctx, rm.partition, rm.items); err != nil {
		return err
	}
	rm.r.report.Items.Removed += int64(len(rm.items))
	rm.r.cfg.Progress("items and objects removed", rm.done.Add(int64(len(rm.items))))
	rm.items = rm.items[:0]
	return nil
}

// forget removes what stands for a chain of a topic that is gone, once it is empty.
func (rm *removal) forget(ctx context.Context, key string) error {
	p, _, err := parseChain(key)
	if err != nil {
		return err
	}
	if items, err := rm.r.c.chains.Items(ctx, p); err != nil && !damagedChain(err) || len(items) > 0 {
		return err
	} else if err != nil {
		return nil //nolint:nilerr // it was reported; what stands for it stays
	}
	if err := rm.wait(ctx, 1); err != nil {
		return err
	}
	if err := rm.r.c.chains.Forget(ctx, p); err != nil {
		return err
	}
	rm.r.report.Chains.Removed++
	return nil
}

// object removes an object.
func (rm *removal) object(ctx context.Context, m mark) error {
	store := rm.r.cfg.Objects
	if strings.HasPrefix(m.key, kindWAL) {
		store = rm.r.cfg.WAL
	}
	key := m.key[1:]
	if err := store.Delete(ctx, key); err != nil {
		return err
	}
	rm.mu.Lock()
	defer rm.mu.Unlock()
	rm.r.report.tallyOf(key).Removed.add(m.size)
	rm.r.cfg.Progress("items and objects removed", rm.done.Add(1))
	return nil
}
