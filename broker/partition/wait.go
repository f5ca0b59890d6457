package partition

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/forebaylog/forebay/infra/id"
)

// Wait is a parked fetch: it fires once, when enough bytes were committed on the
// partitions that it is registered with, when one of them closes, or when its
// time is up. It costs a timer and no goroutine.
type Wait struct {
	need  atomic.Int64
	fired atomic.Bool
	fire  func()

	mu    sync.Mutex
	timer *time.Timer
}

// NewWait returns a wait for need more bytes, of at most the given time. fire
// runs on whichever goroutine completes the wait and must not block.
func NewWait(need int64, most time.Duration, fire func()) *Wait {
	w := &Wait{fire: fire}
	w.need.Store(need)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(most, w.Fire)
	return w
}

// Fire completes the wait. Only the first call has an effect.
func (w *Wait) Fire() {
	if !w.fired.CompareAndSwap(false, true) {
		return
	}
	w.mu.Lock()
	w.timer.Stop()
	w.mu.Unlock()
	w.fire()
}

// Register adds the wait to the log. It returns false, and does not add it, if
// the high watermark or, with committed, the last stable offset is no longer what the
// caller saw, or the log is closed: the caller then has something to answer at once. With
// committed it waits for bytes below the last stable offset.
func (l *Log) Register(w *Wait, seen id.Offset, committed bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, list := l.committed, &l.waits
	if committed {
		now, list = l.stable(), &l.stableWaits
	}
	if l.closed || now != seen {
		return false
	}
	list.add(w)
	return true
}

// waits are parked fetches.
type waits []*Wait

// add adds a wait and drops those that have fired.
func (ws *waits) add(w *Wait) {
	live := (*ws)[:0]
	for _, other := range *ws {
		if !other.fired.Load() {
			live = append(live, other)
		}
	}
	clear((*ws)[len(live):])
	*ws = append(live, w)
}

// notify counts size more bytes towards every wait and returns those that are complete.
func (ws *waits) notify(size int64) (complete []*Wait) {
	live := (*ws)[:0]
	for _, w := range *ws {
		switch {
		case w.fired.Load():
		case w.need.Add(-size) <= 0:
			complete = append(complete, w)
		default:
			live = append(live, w)
		}
	}
	clear((*ws)[len(live):])
	*ws = live
	return complete
}

// unstable counts the bytes between the last stable offset and the high watermark.
type unstable struct {
	stable id.Offset // when it was last looked at
	bytes  int64
}

// stabilized takes note that size bytes were committed and returns how many have got below the
// last stable offset by that: all that were above it, or, if some are held back by a
// transaction that began later, a part of them in proportion to the offsets.
func (l *Log) stabilized(size int64) int64 {
	u, now := &l.unstable, l.stable()
	u.bytes += size
	if now <= u.stable {
		return 0
	}
	share := u.bytes
	if now < l.committed {
		share = max(1, u.bytes*int64(now-u.stable)/int64(l.committed-u.stable))
	}
	u.stable, u.bytes = now, u.bytes-min(share, u.bytes)
	return share
}
