package compact

import (
	"math"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
)

// Settings are a topic's, named as in Kafka.
type Settings struct {
	MinCleanableRatio float64       // min.cleanable.dirty.ratio
	MinLag            time.Duration // min.compaction.lag.ms
	MaxLag            time.Duration // max.compaction.lag.ms; 0: without bound (KIP-354)
	DeleteRetention   time.Duration // delete.retention.ms
	SegmentBytes      int64         // segment.bytes; below 1: 1 GiB
}

func (s Settings) withDefaults() Settings {
	if s.SegmentBytes < 1 {
		s.SegmentBytes = 1 << 30
	}
	return s
}

// State is what is known of a partition.
type State struct {
	Segments []chain.Item // canonical
	Start    id.Offset    // of the log
	// Unstable is the offset from which on transactions may be undecided.
	Unstable id.Offset
	// FirstDirty is the time of the first batch of the dirty part, ms since 1970, 0 if it was not
	// read. The max lag counts from it.
	FirstDirty int64
}

// Decision says whether and how far to clean a partition.
type Decision struct {
	Clean bool
	Dirty id.Offset // the map of keys begins here: all below it was cleaned
	End   id.Offset // and ends here: what follows cannot be cleaned yet
	// Bytes of segments: below Dirty, from there to End, and from End on.
	CleanBytes, CleanableBytes, UncleanableBytes int64
	Ratio                                        float64 // of the cleanable bytes in those below End
	Overdue                                      bool    // MaxLag has passed
}

// Plan decides as Kafka's LogCleanerManager does. All that is sealed may be cleaned: what is not
// takes the part of Kafka's active segment. Whole segments are cleaned or not, of those up to
// the one that holds s.Unstable or has a record younger than MinLag.
func Plan(s State, set Settings, now time.Time) Decision {
	var d Decision
	ms := now.UnixMilli()
	d.Dirty = max(dirtyFrom(s.Segments), s.Start)
	d.End = d.Dirty
	open := true // no segment was found yet that cannot be cleaned
	for _, seg := range s.Segments {
		young := seg.Next > d.Dirty && set.MinLag > 0 && seg.MaxTimestamp > ms-set.MinLag.Milliseconds()
		open = open && seg.Next <= s.Unstable && !young
		switch {
		case seg.Next <= d.Dirty:
			d.CleanBytes += seg.Length
		case open:
			d.CleanableBytes += seg.Length
			d.End = seg.Next
		default:
			d.UncleanableBytes += seg.Length
		}
	}
	if total := d.CleanBytes + d.CleanableBytes; total > 0 {
		d.Ratio = float64(d.CleanableBytes) / float64(total)
	}
	d.Overdue = set.MaxLag > 0 && s.FirstDirty > 0 && s.FirstDirty < ms-set.MaxLag.Milliseconds()
	d.Clean = d.CleanableBytes > 0 && (d.Overdue || d.Ratio > set.MinCleanableRatio)
	return d
}

// dirtyFrom is the largest offset below which every segment has lost all that has a newer record
// of its key below that same offset. After a compaction that stopped between two groups that is
// where it had begun.
func dirtyFrom(segs []chain.Item) id.Offset {
	from := id.Offset(math.MaxInt64)
	for _, s := range segs {
		if s.Base >= from {
			break
		}
		from = min(from, max(s.CleanedTo, s.Base))
	}
	if n := len(segs); n == 0 || from > segs[n-1].Next {
		return 0
	}
	return from
}
