package lifecycle

import (
	"time"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/tiering/chain"
)

// Start returns where a log that starts at start shall start at the time now: segments are what counts of its
// chain (chain.Canonical), and unsealed the bytes that follow them. It is start if nothing goes.
//
// As in Kafka whole segments go, oldest first, if cleanup.policy has delete: those that retention.bytes does not
// need, as long as the rest still has that many, and then those whose greatest timestamp is older
// than retention.ms, up to the first that is not. The end of the chain is never passed. A segment
// of whose records none has a timestamp counts by the time of its object, and stays if that is not known. One of
// which compaction has left nothing goes with the one behind it, unless its own time has come.
func Start(segments []chain.Segment, cfg *config.Effective, start id.Offset, now time.Time, unsealed int64) id.Offset {
	if !cfg.Delete {
		return start
	}
	n := bySize(segments, cfg.RetentionBytes, unsealed)
	n += byTime(segments[n:], cfg.Retention, now)
	if n == 0 {
		return start
	}
	return max(start, segments[n-1].Next)
}

// bySize returns how many segments go because the others have limit bytes without them.
func bySize(segments []chain.Segment, limit, unsealed int64) (gone int) {
	if limit < 0 {
		return 0
	}
	rest := unsealed
	for _, s := range segments {
		rest += s.Length
	}
	for i, s := range segments {
		if rest -= s.Length; rest < limit {
			break
		}
		if !s.Empty() {
			gone = i + 1
		}
	}
	return gone
}

// byTime returns how many segments go because they are old.
func byTime(segments []chain.Segment, limit time.Duration, now time.Time) (gone int) {
	if limit == config.Unlimited {
		return 0
	}
	if seeded.Enabled(seeded.Retention) {
		limit /= 2
	}
	for i, s := range segments {
		switch t, known := timeOf(s); {
		case known && now.UnixMilli()-t > limit.Milliseconds():
			gone = i + 1
		case !s.Empty():
			return gone
		}
	}
	return gone
}

// timeOf is the time by which a segment's age is told, in ms since 1970, if it is known.
func timeOf(s chain.Segment) (ms int64, known bool) {
	if s.MaxTimestamp >= 0 {
		return s.MaxTimestamp, true
	}
	return s.Sealed, s.Sealed > 0
}
