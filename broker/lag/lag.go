// Package lag tells how old the oldest record is that a consumer has not seen, without reading
// any: a History holds when the end of a partition was where, and finds by interpolation when
// it passed an offset. It is pure: it is given the time. A History is not safe for concurrent use.
package lag

import (
	"time"

	"github.com/forebaylog/forebay/infra/id"
)

// maxPoints bounds a History. Once there are more, every second one of the older half goes, so that
// what is known becomes coarser with its age.
const maxPoints = 64

// History is where the end of a partition was at some times. The zero value is empty.
type History struct {
	points []point // in order of both
}

type point struct {
	at  time.Time
	end id.Offset
}

// Add notes the end of the partition at a time, later than all before. An end below the last one,
// as after a loss of records, begins the history anew.
func (h *History) Add(at time.Time, end id.Offset) {
	n := len(h.points)
	switch {
	case n > 0 && end < h.points[n-1].end:
		h.points = h.points[:0]
	case n > 1 && end == h.points[n-1].end && end == h.points[n-2].end:
		h.points[n-1].at = at // only the first and the last time of an end count
		return
	}
	h.points = append(h.points, point{at, end})
	if len(h.points) > maxPoints {
		h.thin()
	}
}

// thin drops every second point of the older half, but neither the first nor the newer half.
func (h *History) thin() {
	kept := h.points[:0]
	for i, p := range h.points {
		if i%2 == 0 || i > maxPoints/2 {
			kept = append(kept, p)
		}
	}
	h.points = kept
}

// Behind returns how long ago the record at next, which a consumer is to read next, was appended; 0
// if there is no such record yet. Of a record that was there before the history began it is known only that
// it is at least as old as the history.
func (h *History) Behind(now time.Time, next id.Offset) time.Duration {
	for i, b := range h.points {
		if b.end <= next {
			continue
		}
		at := b.at
		if i > 0 {
			a := h.points[i-1]
			share := float64(next-a.end) / float64(b.end-a.end)
			at = a.at.Add(time.Duration(share * float64(b.at.Sub(a.at))))
		}
		return max(0, now.Sub(at))
	}
	return 0
}
