package javasuites

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

// position is where a record is in a topic.
type position struct {
	partition int32
	offset    int64
}

// events is what verifiable tools say of records. It is safe for concurrent use.
type events struct {
	mu   sync.Mutex
	at   map[string]position // of records by value
	from map[int]int         // number of events by tool
}

func newEvents() *events { return &events{at: map[string]position{}, from: map[int]int{}} }

// listen returns what is to be told each line of a tool's output. Events of the name count.
func (e *events) listen(tool int, name string) func(line string) {
	return func(line string) {
		var event struct {
			Name, Value string
			Partition   int32
			Offset      int64
		}
		if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &event) != nil || event.Name != name {
			return
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.at[event.Value] = position{event.Partition, event.Offset}
		e.from[tool]++
	}
}

func (e *events) len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.at)
}

// requireAll checks that each record of others, which are complete, is among these.
func (e *events) requireAll(others *events) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var missing examples
	for value, at := range others.at {
		if e.at[value] != at {
			missing.add(fmt.Sprintf("%s at offset %d of partition %d", value, at.offset, at.partition))
		}
	}
	if missing.n > 0 {
		return fmt.Errorf("%d of %d acknowledged records were not consumed%s", missing.n, len(others.at), missing)
	}
	return nil
}

// requireShared checks that each of n tools had its share.
func (e *events) requireShared(n int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.from) < n {
		return fmt.Errorf("%d of %d members of the group consumed anything", len(e.from), n)
	}
	return nil
}
