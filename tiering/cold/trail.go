package cold

import "sync"

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
	mu    sync.Mutex
	steps *lru[step, struct{}]
}

func newTrail() *trail { return &trail{steps: newLRU[step, struct{}]()} }

// note takes down that a chunk was read and reports whether the one before it
// was read for the same run.
func (t *trail) note(s step) (sequential bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.steps.use(s); !ok {
		t.steps.add(s, struct{}{})
		if len(t.steps.entries) > trailLength {
			t.steps.remove(t.steps.oldest.key)
		}
	}
	s.chunk--
	return t.steps.has(s)
}
