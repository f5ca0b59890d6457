package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/journal"
)

// rollInterval is how often it is looked whether the active hot segment is to be rolled, and so how often it can be.
const rollInterval = time.Second

// roller rolls the active hot segment, which many partitions share, for the sake of one whose segment.ms or segment.bytes
// asks for it: only what is rolled is sealed, and only what is sealed can expire or be compacted.
// Its methods are for one goroutine, but for expired.
type roller struct {
	s       *storage
	segment id.Segment                 // the active one as last seen
	since   map[id.Partition]time.Time // when records of a partition were first seen in it
}

// roll rolls the active segment if that is due.
func (r *roller) roll(context.Context) error {
	active, ok := r.s.activeSegment()
	if !ok || r.s.sealer.Paused() || !r.due(active) {
		return nil
	}
	if err := r.s.journal.Roll(); err != nil {
		return fmt.Errorf("roll the active hot segment: %w", err)
	}
	return nil
}

// due reports whether a partition that is led here has had records in the active segment for
// segment.ms, or has segment.bytes in it. Whatever holds it back, a compacted topic's records become
// sealed early enough for max.compaction.lag.ms, as in Kafka.
func (r *roller) due(active journal.SegmentInfo) bool {
	if active.ID != r.segment || r.since == nil {
		r.segment, r.since = active.ID, map[id.Partition]time.Time{}
	}
	now := r.s.b.cfg.Now()
	for p, x := range active.Partitions {
		cfg, ok := r.s.ledConfig(p)
		if !ok {
			continue
		}
		since, seen := r.since[p]
		if !seen {
			since, r.since[p] = now, now
		}
		age := cfg.SegmentAge
		if cfg.Compact {
			age = min(age, cfg.MaxCompactionLag)
		}
		if now.Sub(since) >= age || x.Bytes >= int64(cfg.SegmentBytes) {
			return true
		}
	}
	return false
}

// expired reports whether the active segment has all that is not sealed of a partition that is led here, and it has expired.
func (r *roller) expired() bool {
	active, ok := r.s.activeSegment()
	if !ok {
		return false
	}
	now := r.s.b.cfg.Now()
	for p, x := range active.Partitions {
		cfg, ok := r.s.ledConfig(p)
		if ok && cfg.Delete && (now.Sub(timeOfExtent(active, x)) > cfg.Retention || cfg.RetentionBytes == 0) {
			return true
		}
	}
	return false
}

// ledConfig returns what counts for the topic of a partition that this broker leads.
func (s *storage) ledConfig(p id.Partition) (topicConfig, bool) {
	if !s.logs.Live(p) {
		return topicConfig{}, false
	}
	t, ok := s.b.meta.Image().TopicByID(p.Topic)
	if !ok {
		return topicConfig{}, false
	}
	return s.b.topicConfig(t), true
}
