package journal

// A sync behind a write into reserved but unwritten space must also commit the file
// system's own journal, which doubles its cost. Zeros written ahead of the frames
// spare small groups that; in large groups it does not matter.

const (
	// zeroAhead is how far in front of the frames there are zeros, in bytes.
	zeroAhead = 8 << 20
	// zeroStep is written at a time, while no group can be.
	zeroStep = 1 << 20
	// largeGroup is the size of a group that is written without zeros before it.
	largeGroup = 384 << 10
	// minZeroed is the smallest segment that zeros are written to.
	minZeroed = 2 * zeroAhead
)

var zeroes [zeroStep]byte

// wantZeros wakes the loop when a group of size bytes that ends at end has come
// close to the end of the zeros. io is held.
func (j *Journal) wantZeros(seg *segment, end, size int64) {
	if size < largeGroup && seg.zeroed-end < zeroAhead/2 && seg.alloc >= minZeroed {
		j.wake(j.wantZero)
	}
}

func (j *Journal) zeroLoop() {
	defer j.loops.Done()
	for {
		select {
		case <-j.done:
			return
		case <-j.wantZero:
			for j.zero() && !j.ended() {
			}
		}
	}
}

// ended reports whether Close was called.
func (j *Journal) ended() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

// zero writes one step of zeros into the active segment and reports whether there is
// more to do. Frames that are queued meanwhile lie in or behind what is zeroed here,
// but with io held they are written later, and what was written lies before it.
func (j *Journal) zero() bool {
	j.io.Lock()
	defer j.io.Unlock()
	j.mu.RLock()
	seg, written, failed := j.active, j.written, j.failed
	j.mu.RUnlock()
	if seg == nil || failed != nil || seg.alloc < minZeroed || written.Segment != seg.id {
		return false
	}
	from := max(seg.zeroed, (written.Offset+zeroStep-1)/zeroStep*zeroStep)
	to := min(from+zeroStep, seg.alloc)
	if from >= to || from >= written.Offset+zeroAhead {
		return false
	}
	if _, err := seg.file.WriteAt(zeroes[:to-from], from); err != nil {
		j.cfg.Logger.Warn("writing zeros ahead failed; syncs take longer", "segment", seg.path, "error", err)
		to = seg.alloc // do not try again
	}
	seg.zeroed = to
	return true
}
