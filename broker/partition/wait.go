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
// the high watermark is no longer what the caller saw or the log is closed: the
// caller then has something to answer at once.
func (l *Log) Register(w *Wait, seen id.Offset) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.committed != seen {
		return false
	}
	live := l.waits[:0]
	for _, other := range l.waits {
		if !other.fired.Load() {
			live = append(live, other)
		}
	}
	clear(l.waits[len(live):])
	l.waits = append(live, w)
	return true
}

// notify counts size committed bytes towards every wait and returns those that are complete.
func (l *Log) notify(size int64) (complete []*Wait) {
	live := l.waits[:0]
	for _, w := range l.waits {
		switch {
		case w.fired.Load():
		case w.need.Add(-size) <= 0:
			complete = append(complete, w)
		default:
			live = append(live, w)
		}
	}
	clear(l.waits[len(live):])
	l.waits = live
	return complete
}
