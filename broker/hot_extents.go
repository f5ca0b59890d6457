package broker

import (
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/journal"
)

// hotExtents is what the hot segments hold of each partition, oldest first.
type hotExtents map[id.Partition][]journal.Extent

// extentsOf lists what segments, oldest first, hold.
func extentsOf(segments []journal.SegmentInfo) hotExtents {
	held := make(hotExtents)
	for _, segment := range segments {
		for p, x := range segment.Partitions {
			held[p] = append(held[p], x)
		}
	}
	return held
}

// bytes returns how many bytes there are of p at or above from, about where from lies within an extent.
func (h hotExtents) bytes(p id.Partition, from id.Offset) (n int64) {
	for _, x := range h[p] {
		switch {
		case x.Next <= from:
		case x.First >= from:
			n += x.Bytes
		default:
			n += int64(float64(x.Bytes) * float64(x.Next-from) / float64(x.Next-x.First))
		}
	}
	return n
}

// activeSegment is the hot segment that is appended to, if there is one with records.
func (s *storage) activeSegment() (journal.SegmentInfo, bool) {
	segments := s.journal.Segments()
	if len(segments) == 0 || segments[len(segments)-1].Rolled {
		return journal.SegmentInfo{}, false
	}
	return segments[len(segments)-1], true
}

// timeOfExtent is the time by which the age of what segment holds of a partition is told.
func timeOfExtent(segment journal.SegmentInfo, x journal.Extent) time.Time {
	if x.MaxTimestamp < 0 {
		return segment.Created
	}
	return time.UnixMilli(x.MaxTimestamp)
}
