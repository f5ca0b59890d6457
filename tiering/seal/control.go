package seal

import (
	"errors"
	"sync/atomic"

	"github.com/forebaylog/forebay/tiering/journal"
)

// ErrPaused says that sealing is paused, so that nothing is adopted either.
var ErrPaused = errors.New("sealing is paused")

// controls are the settings that change while the Sealer runs.
type controls struct {
	paused atomic.Bool
	budget atomic.Int64 // bytes
}

// Pause lets the Sealer seal nothing more, or has it go on. A pack that is being written is
// committed still; the round ends with it. While it is paused, hot segments that are sealed are dropped as the
// disk budget asks for, AfterPass is called, and Adopt fails with ErrPaused. What is not
// sealed stays where it is, however much it becomes.
func (s *Sealer) Pause(paused bool) {
	if s.controls.paused.Swap(paused) == paused {
		return
	}
	s.cfg.Logger.Info("sealing", "paused", paused)
	select {
	case s.again <- struct{}{}:
	default:
	}
}

// Paused reports whether sealing is paused.
func (s *Sealer) Paused() bool { return s.controls.paused.Load() }

// SetDiskBudget changes Config.DiskBudget from the next round on; 0 or less selects the default.
func (s *Sealer) SetDiskBudget(bytes int64) {
	if bytes <= 0 {
		bytes = defaultDiskBudget
	}
	s.controls.budget.Store(bytes)
}

// DiskBudget is how many bytes the hot segments may take before sealed ones are dropped.
func (s *Sealer) DiskBudget() int64 { return s.controls.budget.Load() }

// holdsAny reports whether seg holds any batch.
func holdsAny(seg journal.SegmentInfo) bool {
	for range seg.Partitions {
		return true
	}
	return false
}
