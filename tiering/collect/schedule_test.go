package collect_test

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/collect"
)

var (
	schedules    = flag.Int("schedules", 600, "how many schedules to run; 150 at most with -short")
	scheduleFrom = flag.Uint64("schedules-from", 1, "the seed of the first of them")
	scheduleSeed = flag.Uint64("schedule-seed", 0, "run the schedule of this seed alone")
)

// grace is the shortest that Validate lets pass.
const grace = chain.CommitWithin + collect.Margin

// lifetime is how long the actors of a schedule work.
const lifetime = 10 * time.Hour

// TestSchedules runs everybody who writes to the stores beside two collectors, each schedule
// with other delays, failures, lost replies and pauses. Whatever is removed is looked at when it
// is: nobody who counts may name it. In the end all that was acknowledged can be read, and after
// two more looks nothing superfluous is left.
func TestSchedules(t *testing.T) {
	if *scheduleSeed != 0 {
		require.NoError(t, schedule(t, *scheduleSeed))
		return
	}
	n := *schedules
	if testing.Short() {
		n = min(n, 150)
	}
	var next, removed atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		for range 4 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					seed := *scheduleFrom + uint64(i-1)
					w, err := runSchedule(t, seed)
					if err != nil {
						t.Fatalf("schedule %d: %v\nto run it alone: go test ./tiering/collect -run TestSchedules -schedule-seed %d", seed, err, seed)
					}
					removed.Add(w.removed.Load())
				}
			})
		}
	})
	require.Greater(t, removed.Load(), int64(n), "collectors that remove nothing prove nothing")
	t.Logf("%d objects and items removed in %d schedules from %d on", removed.Load(), n, *scheduleFrom)
}

func schedule(t *testing.T, seed uint64) error {
	w, err := runSchedule(t, seed)
	t.Logf("%d objects and items removed; looks %d, of which %d failed", w.removed.Load(), w.looks.Load(), w.failed.Load())
	return err
}

func runSchedule(t *testing.T, seed uint64) (w *stage, err error) {
	synctest.Test(t, func(t *testing.T) {
		w = newStage(t.Context(), seed)
		w.play()
		if err = w.violation(); err == nil {
			err = w.epilogue()
		}
	})
	return w, err
}

// play runs the actors until their time is over.
func (w *stage) play() {
	if err := w.objects.Put(w.ctx, "cluster-id", strings.NewReader("c")); err != nil {
		w.violated("%v", err)
	}
	for range 2 {
		w.newTopic()
		w.newSession()
	}
	w.deal()
	w.start(w.takeovers)
	w.start(w.retention)
	w.start(w.topics)
	w.start(w.release)
	for range 2 {
		w.start(w.rewriter)
		w.start(w.reader)
		w.start(w.collector)
	}
	w.actors.Wait()
}

// epilogue makes an end of all that is under way, reads everything, and has the collector look twice.
func (w *stage) epilogue() error {
	if err := w.sealRest(); err != nil {
		return fmt.Errorf("seal the rest: %w", err)
	}
	if err := w.releaseAll(); err != nil {
		return fmt.Errorf("release the rest: %w", err)
	}
	if err := w.readAll(); err != nil {
		return err
	}
	cfg := collect.Config{Metadata: w.table, Objects: w.objects, Image: w.freshImage, Rate: -1, Grace: grace}
	for range 2 {
		if _, err := collect.New(cfg).Run(w.ctx); err != nil {
			return fmt.Errorf("look: %w", err)
		}
		time.Sleep(grace + time.Minute)
	}
	if err := errors.Join(w.violation(), w.readAll(), w.garbage()); err != nil {
		return err
	}
	r, err := collect.New(cfg).Run(w.ctx)
	switch {
	case err != nil:
		return fmt.Errorf("look: %w", err)
	case r.Superfluous().Objects > 0 || r.Items.Superfluous > 0 || r.Chains.Superfluous > 0 || len(r.Damaged) > 0:
		return fmt.Errorf("a further look still finds: %+v", r)
	}
	return w.nothingBelow(collect.ObjectPrefix)
}

// readAll reads all that was acknowledged and is not below a log start.
func (w *stage) readAll() error {
	for _, p := range w.live() {
		for off := p.start; off < p.committed; {
			seg, err := w.chains.Find(w.ctx, p.p, off)
			if err != nil {
				return fmt.Errorf("read offset %d of %d: %w", off, p.committed, err)
			}
			if err := w.readSegment(w.objects, p.p, seg); err != nil {
				return fmt.Errorf("read offset %d of %d: %w", off, p.committed, err)
			}
			off = seg.Next
		}
	}
	return nil
}

// garbage reports what is in the stores and nobody needs.
func (w *stage) garbage() error {
	used := map[string]bool{}
	ps, err := w.chains.Partitions(w.ctx)
	if err != nil {
		return err
	}
	image := w.image()
	for _, p := range ps {
		state, ok := image.Partition(p)
		if !ok {
			return fmt.Errorf("the chain of %s, of a topic that is gone, is still there", p)
		}
		items, err := w.chains.Items(w.ctx, p)
		if err != nil {
			return err
		}
		canonical, spare, err := chain.Canonical(items, state.Start)
		if err != nil {
			return err
		}
		for _, item := range canonical {
			used[item.Object] = true
		}
		for _, item := range spare {
			if !reachesBeyond(item, canonical) && item.Base != items[len(items)-1].Base {
				return fmt.Errorf("item %d of %s is spare and still there", item.Base, p)
			}
			used[item.Object] = true
		}
	}
	for info, err := range w.objects.List(w.ctx, chain.ObjectPrefix, "") {
		if err != nil {
			return err
		}
		if !used[info.Key] {
			return fmt.Errorf("pack %s is still there", info.Key)
		}
	}
	return w.nothingBelow("wal/")
}

// reachesBeyond reports whether item ends behind the canonical one that has its base.
func reachesBeyond(item chain.Item, canonical []chain.Item) bool {
	for _, c := range canonical {
		if c.Base <= item.Base && item.Base < c.Next {
			return item.Next > c.Next
		}
	}
	return false
}

func (w *stage) nothingBelow(prefix string) error {
	for info, err := range w.objects.List(w.ctx, prefix, "") {
		if err != nil {
			return err
		}
		if !strings.HasSuffix(info.Key, ".report") { // which is for people
			return fmt.Errorf("%s is still there", info.Key)
		}
	}
	return nil
}

func (w *stage) image() *metalog.Image {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.imageLocked()
}
