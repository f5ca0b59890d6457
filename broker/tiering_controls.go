package broker

import (
	"context"
	"time"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/metalog"
)

// tieringControls has the tiers follow the broker configs forebay.*, which count from the
// moment that this broker sees them in the metadata. run is its one goroutine.
type tieringControls struct {
	s      *storage
	wake   signals
	sealed int64 // the latest forebay.seal.before.ms that was seen to
}

func newTieringControls(s *storage) *tieringControls {
	return &tieringControls{s: s, wake: make(signals, 1)}
}

// run applies the configs after each change of the metadata until ctx ends.
func (t *tieringControls) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var due <-chan time.Time
		if wait, waiting := t.apply(t.s.b.meta.Image()); waiting {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-due:
		}
	}
}

// retryRoll is how long after a failure the active hot segment is rolled again.
const retryRoll = time.Second

// apply sets the tiers as img says. If something is left to be done later it says when.
func (t *tieringControls) apply(img *metalog.Image) (wait time.Duration, waiting bool) {
	want := config.ResolveTiering(t.s.b.layers(img, t.s.b.self()))
	t.s.cold.SetCacheBytes(want.CacheBytes)
	t.s.sealer.SetDiskBudget(want.HotBytes)
	t.s.sealer.Pause(!want.Seal)
	if want.SealBefore <= t.sealed {
		return 0, false
	}
	before := time.UnixMilli(want.SealBefore)
	if wait := before.Sub(t.s.b.cfg.Now()); wait > 0 {
		return wait, true
	}
	if !t.s.begunAfter(before) {
		if err := t.s.journal.Roll(); err != nil {
			t.s.b.log.Warn("roll the active hot segment: will try again", "err", err)
			return retryRoll, true
		}
	}
	t.sealed = want.SealBefore
	if t.s.b.cluster != nil {
		t.s.b.cluster.adopts.send()
	}
	return 0, false
}

// begunAfter reports whether all that is hot and not rolled was appended after a moment.
func (s *storage) begunAfter(moment time.Time) bool {
	segs := s.journal.Segments()
	if len(segs) == 0 {
		return false
	}
	active := segs[len(segs)-1]
	return !active.Rolled && active.Created.After(moment)
}
