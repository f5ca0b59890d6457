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

// errLate: the look is too long ago to remove anything because of it.
var errLate = errors.New("the look is too long ago")

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

// remove removes what is due of a window: items of chains, then what stands for the chains of topics that
// are gone, then objects. If an item cannot be removed, no object is, nor an item behind it:
// whoever finds the item finds its records. When the time of the window is over it ends as if all
// were done, and the next look goes on; if items are left, this one removes nothing any more.
func (r *run) remove(ctx context.Context) error {
	encoded, err := r.due.finish()
	if err != nil || encoded == nil {
		return err
	}
	marks, err := openMarks(encoded)
	if err != nil {
		return err
	}
	r.waiting.finish()
	removing, cancel := context.WithDeadlineCause(ctx, r.until, errLate)
	defer cancel()
	group, groupCtx := errgroup.WithContext(removing)
	group.SetLimit(removers)
	rm := &removal{r: r, objects: group, every: interval(r.cfg.Rate)}
	var m mark
	for err == nil {
		if m, err = marks.next(); err == nil && !r.waits(m) {
			err = rm.take(groupCtx, m)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if failed := group.Wait(); failed != nil { // it has ended groupCtx
		err = failed
	}
	if err != nil && ctx.Err() == nil && (errors.Is(err, errLate) || errors.Is(context.Cause(removing), errLate)) {
		r.report.Late = true
		r.stopped = strings.HasPrefix(m.key, kindItem) || strings.HasPrefix(m.key, kindChain)
		r.cfg.Logger.Warn("the collector had no time to remove all that is due; a later look goes on",
			"look", r.report.Look, "due", r.report.Due, "removed", rm.done.Load(), "within", chain.CommitWithin, "error", err)
		return nil
	}
	return err
}

// inTime fails with errLate if nothing may be removed any more: the end of a context may be noticed
// late by a process that was stopped.
func (r *run) inTime() error {
	if !time.Now().Before(r.until) {
		return errLate
	}
	return nil
}

// removal is the removals under way.
type removal struct {
	r       *run
	objects *errgroup.Group

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

// wait waits for the turn of a removal.
func (rm *removal) wait(ctx context.Context) error {
	if rm.every == 0 {
		return ctx.Err()
	}
	now := time.Now()
	if rm.next.Before(now) {
		rm.next = now
	}
	wait := rm.next.Sub(now)
	rm.next = rm.next.Add(rm.every)
	return pause.For(ctx, wait)
}

// take removes what is marked; objects at the same time as others.
func (rm *removal) take(ctx context.Context, m mark) error {
	rm.r.report.Due++
	if rm.r.cfg.DryRun {
		return nil
	}
	if strings.HasPrefix(m.key, kindItem) {
		return rm.item(ctx, m.key)
	}
	if strings.HasPrefix(m.key, kindChain) {
		return rm.forget(ctx, m.key)
	}
	if err := rm.wait(ctx); err != nil {
		return err
	}
	rm.objects.Go(func() error { return rm.object(ctx, m) })
	return nil
}

// item removes an item of a chain, after those below it: marks come in the order of their keys.
func (rm *removal) item(ctx context.Context, key string) error {
	p, item, err := parseItem(key)
	if err != nil {
		return err
	}
	if err := rm.wait(ctx); err != nil {
		return err
	}
	if err := rm.r.inTime(); err != nil {
		return err
	}
	if err := rm.r.c.chains.Remove(ctx, p, []chain.Item{item}); err != nil {
		return err
	}
	rm.r.report.Items.Removed++
	rm.r.cfg.Progress("items and objects removed", rm.done.Add(1))
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
	if err := rm.wait(ctx); err != nil {
		return err
	}
	if err := rm.r.inTime(); err != nil {
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
	if err := rm.r.inTime(); err != nil {
		return err
	}
	if err := store.Delete(ctx, key); err != nil {
		return err
	}
	rm.mu.Lock()
	defer rm.mu.Unlock()
	rm.r.report.tallyOf(key).Removed.add(m.size)
	rm.r.cfg.Progress("items and objects removed", rm.done.Add(1))
	return nil
}
