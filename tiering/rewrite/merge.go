package rewrite

import (
	"slices"
	"time"

	"github.com/forebaylog/forebay/tiering/chain"
)

// MergePolicy says which segments of a partition are merged. The zero value of a field
// selects its default.
type MergePolicy struct {
	// SegmentBytes is the topic's segment.bytes, which no merged segment exceeds: 1 GiB. One that
	// has half of it is full and is left alone.
	SegmentBytes int64
	// Span is the most record time that a merged segment has, for a topic with retention by
	// time: the topic's segment.ms, or less where that is long beside retention.ms. 0: no bound,
	// for retention by size deletes the same bytes either way.
	Span time.Duration
	// Compacted: the topic's cleanup.policy has compact. Then segments that were compacted are not
	// merged with those that were not, for the whole would have to be compacted again. Among
	// themselves they may: what counts is the least CleanedTo, of which there is none lower
	// for it. In other topics nobody asks.
	Compacted bool
	// FanIn is how many segments of about one size are merged at a time, at least: 8.
	FanIn int
	// Fresh is for how long the last segment of a chain is left alone, by the time it was sealed:
	// 10 minutes. Whoever seals or takes over reads it then.
	Fresh time.Duration
}

func (p MergePolicy) withDefaults() MergePolicy {
	if p.SegmentBytes <= 0 {
		p.SegmentBytes = 1 << 30
	}
	if p.FanIn < 2 {
		p.FanIn = 8
	}
	if p.Fresh <= 0 {
		p.Fresh = 10 * time.Minute
	}
	return p
}

// Plan chooses from the canonical items of a chain what is to be merged now: groups of two
// items or more that follow each other, oldest first, disjoint.
//
// A stretch of neighbours is merged when it is FanIn times as large as the largest of them: so
// each byte comes to a segment FanIn times the size, and is rewritten a logarithmic number of times.
// What is left when nothing is to be merged has fewer than FanIn neighbours of about the size of the largest, and
// the same holds between these. A stretch to which nothing will be added, for what follows is
// full or lies in another Span, is merged once more, whatever its sizes: that comes once
// to each byte, and once more for each day, or Span, in which nothing comes to the end of the chain.
//
// Spans are fixed stretches of time, of Span each. A segment counts with the newest record up
// to its end, for it cannot be deleted before those in front of it: so times grow
// along the chain, and the copy of a merged segment lies in the span where its parts lay.
func (p MergePolicy) Plan(items []chain.Item, now time.Time) [][]chain.Item {
	p = p.withDefaults()
	times := p.spans(items)
	end := len(items)
	if end > 0 && now.UnixMilli()-items[end-1].Sealed < p.Fresh.Milliseconds() {
		end--
	}
	var groups [][]chain.Item
	for first := 0; first < end; {
		last := first + 1 // behind the stretch
		for last < end && p.together(items, times, last) {
			last++
		}
		if p.full(items[first]) {
			last = first + 1
		} else if p.closed(items, times, last, now) {
			groups = append(groups, p.mergeAll(items[first:last])...)
		} else {
			groups = append(groups, p.mergeGrown(items[first:last])...)
		}
		first = last
	}
	return groups
}

func (p MergePolicy) full(item chain.Item) bool { return item.Length >= p.SegmentBytes/2 }

// spans tells the number of the span of each item.
func (p MergePolicy) spans(items []chain.Item) []int64 {
	spans := make([]int64, len(items))
	newest := int64(-1)
	for i, item := range items {
		newest = max(newest, item.MaxTimestamp)
		if p.Span > 0 {
			spans[i] = newest / max(p.Span.Milliseconds(), 1)
		}
	}
	return spans
}

// together reports whether item i may be merged with the one before.
func (p MergePolicy) together(items []chain.Item, spans []int64, i int) bool {
	return spans[i] == spans[i-1] && !p.full(items[i]) && !p.full(items[i-1]) && p.alike(items[i-1], items[i])
}

// alike reports whether both were compacted or neither, as far as that counts. Of an empty segment
// nothing is left to be compacted.
func (p MergePolicy) alike(a, b chain.Item) bool {
	return !p.Compacted || (a.CleanedTo > 0) == (b.CleanedTo > 0)
}

// idle is for how long nothing must have come to the last stretch of a chain, at least, to be closed.
const idle = 24 * time.Hour

// closed reports whether nothing will come to the stretch that ends before item i: something else
// follows, or nothing has come for a span, whatever the records' times say.
func (p MergePolicy) closed(items []chain.Item, spans []int64, i int, now time.Time) bool {
	if i < len(items) {
		return spans[i] != spans[i-1] || p.full(items[i])
	}
	return p.Span > 0 && now.UnixMilli()-items[i-1].Sealed >= max(p.Span, idle).Milliseconds()
}

// mergeAll merges all items into as few as SegmentBytes allows.
func (p MergePolicy) mergeAll(items []chain.Item) (groups [][]chain.Item) {
	for len(items) > 0 {
		n := p.fit(items)
		if n > 1 {
			groups = append(groups, items[:n])
		}
		items = items[n:]
	}
	return groups
}

// fit is how many items, from the first on, make a segment, one at least.
func (p MergePolicy) fit(items []chain.Item) int {
	var bytes int64
	for i, item := range items {
		if bytes += item.Length; i > 0 && bytes > p.SegmentBytes {
			return i
		}
	}
	return len(items)
}

// mergeGrown merges what is FanIn times its largest item, and looks beside that one else.
func (p MergePolicy) mergeGrown(items []chain.Item) (groups [][]chain.Item) {
	for len(items) > 1 {
		at, total := measure(items)
		if total < min(weight(items[at])*int64(p.FanIn), p.SegmentBytes) {
			return slices.Concat(groups, p.mergeGrown(items[:at]), p.mergeGrown(items[at+1:]))
		}
		n := p.fit(items) // all of them, or so many that the segment is full
		groups = append(groups, items[:n])
		items = items[n:]
	}
	return groups
}

// measure returns where the largest of items is, and what they weigh together.
func measure(items []chain.Item) (at int, total int64) {
	for i, item := range items {
		if total += weight(item); weight(item) > weight(items[at]) {
			at = i
		}
	}
	return at, total
}

// weight is the size of an item in bytes. That it is there counts as well: of empty ones and tiny ones
// not every pair is worth a write.
func weight(item chain.Item) int64 { return item.Length + 64 }
