//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// at is a record's place in a topic.
type at struct {
	partition int32
	offset    int64
}

// content is what a consumer got at a place.
type content struct{ key, value string }

// history is all that the consumers of one topic got, however many there are. A place
// delivered twice is counted; a place delivered with different bytes is an anomaly.
type history struct {
	mu        sync.Mutex
	records   map[at]content
	delivered int
	anomalies []string
	changed   chan struct{} // closed at the next delivery; nil when nobody waits for one
}

func newHistory() *history { return &history{records: map[at]content{}} }

func (h *history) add(where at, what content) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.records[where]; ok && old != what {
		h.anomalies = append(h.anomalies, fmt.Sprintf("%v held %q and then %q", where, old, what))
	}
	h.records[where] = what
	h.delivered++
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// has reports whether a place was delivered.
func (h *history) has(where at) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.records[where]
	return ok
}

// anomaly notes something that must not be.
func (h *history) anomaly(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.anomalies = append(h.anomalies, fmt.Sprintf(format, args...))
}

// size returns the number of different places delivered, and a channel that is closed at the next delivery.
func (h *history) size() (int, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return len(h.records), h.changed
}

// await waits until n different places were delivered.
func (h *history) await(ctx context.Context, n int) error {
	for {
		have, changed := h.size()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("await %d records, have %d: %w", n, have, context.Cause(ctx))
		}
	}
}

// sink takes what a consumer prints.
type sink interface {
	add(where at, what content)
	anomaly(format string, args ...any)
}

// tee gives what one consumer got to several histories.
type tee []*history

func (to tee) add(where at, what content) {
	for _, h := range to {
		h.add(where, what)
	}
}

func (to tee) anomaly(format string, args ...any) {
	for _, h := range to {
		h.anomaly(format, args...)
	}
}

// readLines parses "partition, offset, key, value" lines, separated by tabulators, until in ends.
// A last line without its end is from a process that was killed while it wrote, and is left
// out. After each line it calls lines with how many these were.
func readLines(in io.Reader, to sink, lines func(n int)) {
	r := bufio.NewReaderSize(in, 1<<16)
	for n := 1; ; n++ {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		where, what, err := parseLine(strings.TrimSuffix(line, "\n"))
		if err != nil {
			to.anomaly("a consumer printed %q: %v", line, err)
			continue
		}
		to.add(where, what)
		lines(n)
	}
}

func parseLine(line string) (at, content, error) {
	fields := strings.SplitN(line, "\t", 4)
	if len(fields) != 4 {
		return at{}, content{}, fmt.Errorf("%d fields instead of 4", len(fields))
	}
	// The Java console consumer names the first two.
	partition, err := strconv.ParseInt(strings.TrimPrefix(fields[0], "Partition:"), 10, 32)
	if err != nil {
		return at{}, content{}, err
	}
	offset, err := strconv.ParseInt(strings.TrimPrefix(fields[1], "Offset:"), 10, 64)
	return at{int32(partition), offset}, content{fields[2], fields[3]}, err
}

// requireWhole checks that the history is the events: every line once, byte for byte, the
// lines of a key in one partition and in order, and offsets without a hole.
func (h *history) requireWhole(t *testing.T, events []event) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Empty(t, h.anomalies)

	places := slices.SortedFunc(maps.Keys(h.records), func(a, b at) int {
		if a.partition != b.partition {
			return int(a.partition - b.partition)
		}
		return int(a.offset - b.offset)
	})
	got := map[string][]string{}
	home := map[string]int32{}
	next := map[int32]int64{}
	for _, place := range places {
		require.Equal(t, next[place.partition], place.offset, "offsets of partition %d have a hole", place.partition)
		next[place.partition]++
		record := h.records[place]
		if p, ok := home[record.key]; ok {
			require.Equal(t, p, place.partition, "key %q is in two partitions", record.key)
		}
		home[record.key] = place.partition
		got[record.key] = append(got[record.key], record.value)
	}

	want := map[string][]string{}
	for _, e := range events {
		want[e.key] = append(want[e.key], e.value)
	}
	require.Len(t, places, len(events), "records in the topic")
	require.Len(t, got, len(want), "keys in the topic")
	for key, values := range want {
		if !slices.Equal(values, got[key]) {
			i := 0
			for i < min(len(values), len(got[key])) && values[i] == got[key][i] {
				i++
			}
			t.Fatalf("key %q: want %d lines, got %d; they part at line %d", key, len(values), len(got[key]), i)
		}
	}
}

// requireOnce checks that no place was delivered twice.
func (h *history) requireOnce(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Equal(t, len(h.records), h.delivered, "records delivered")
}
