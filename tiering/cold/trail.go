package cold

import (
	"container/list"
	"sync"
)

// trailLength is how many chunks the trail remembers: as many sequential readers
// are recognised.
const trailLength = 4096

// step is a chunk that was read for a run.
type step struct {
	object string
	run    int64 // position of the run in the object
	chunk  int64
}

// trail remembers which chunks were read for which runs last, to tell a reader that
// goes from front to back from one that looks something up. It is safe for concurrent use.
type trail struct {
	mu     sync.Mutex
	steps  map[step]*list.Element
	recent list.List // of step, the latest first
}

func newTrail() *trail { return &trail{steps: map[step]*list.Element{}} }

// note takes down that a chunk was read and reports whether the one before it
// was read for the same run.
func (t *trail) note(s step) (sequential bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if el, ok := t.steps[s]; ok {
		t.recent.MoveToFront(el)
	} else {
		t.steps[s] = t.recent.PushFront(s)
		if t.recent.Len() > trailLength {
			delete(t.steps, t.recent.Remove(t.recent.Back()).(step))
		}
	}
	s.chunk--
	_, sequential = t.steps[s]
	return sequential
}
