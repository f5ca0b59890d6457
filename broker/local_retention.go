package broker

import (
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/journal"
)

// unwanted counts the hot segments, oldest first, that none of the partitions led here wants to keep on the disk
// once they are sealed, by local.retention.ms and local.retention.bytes of its topic. The
// last one is never counted.
func (s *storage) unwanted(segments []journal.SegmentInfo) int {
	now := s.b.cfg.Now()
	for i := range segments {
		if i == len(segments)-1 || s.wanted(segments[i:], now) {
			return i
		}
	}
	return 0
}

// wanted reports whether the first of segments has to stay.
func (s *storage) wanted(segments []journal.SegmentInfo, now time.Time) bool {
	var later hotExtents // what follows it, once that is asked for
	for p, x := range segments[0].Partitions {
		cfg, ok := s.ledConfig(p)
		if !ok || x.Next <= s.startOf(p) {
			continue
		}
		if age := cfg.LocalRetention; cfg.Delete && now.Sub(timeOfExtent(segments[0], x)) > age {
			continue
		}
		if limit := cfg.LocalRetentionBytes; cfg.Delete && limit >= 0 {
			if later == nil {
				later = extentsOf(segments[1:])
			}
			if later.bytes(p, 0) >= limit {
				continue
			}
		}
		return true
	}
	return false
}

// startOf is where the log of a partition starts.
func (s *storage) startOf(p id.Partition) id.Offset {
	state, _ := s.b.meta.Image().Partition(p)
	return state.Start
}
