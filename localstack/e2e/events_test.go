//go:build e2e

package e2e

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// event is one line of the test data as it is produced.
type event struct {
	key, value string
	millis     int64 // the event's own time, ms since 1970; 0 if it has none
}

// quakes returns the earthquakes, keyed by id, with their own times, in order of time.
func quakes(t *testing.T) []event {
	t.Helper()
	events, err := loadQuakes()
	require.NoError(t, err)
	require.Len(t, events, 1707)
	return events
}

// flights returns all flights, keyed by distance: some 1,000 keys with a few to 1,658 lines
// each, some lines alike, so that order for each key says something.
func flights(t *testing.T) []event {
	t.Helper()
	events, err := loadFlights()
	require.NoError(t, err)
	require.Len(t, events, 200_000)
	return events
}

var loadQuakes = sync.OnceValues(func() ([]event, error) {
	return load("testdata/earthquakes.ndjson", func(line string) (event, error) {
		var quake struct {
			ID         string
			Properties struct{ Time int64 }
		}
		err := json.Unmarshal([]byte(line), &quake)
		return event{key: quake.ID, value: line, millis: quake.Properties.Time}, err
	})
})

var loadFlights = sync.OnceValues(func() ([]event, error) {
	return load("testdata/flights.ndjson.gz", func(line string) (event, error) {
		var flight struct{ Distance int }
		err := json.Unmarshal([]byte(line), &flight)
		return event{key: strconv.Itoa(flight.Distance), value: line}, err
	})
})

func load(name string, parse func(string) (event, error)) ([]event, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var in io.Reader = file
	if filepath.Ext(name) == ".gz" {
		if in, err = gzip.NewReader(file); err != nil {
			return nil, err
		}
	}
	var events []event
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		e, err := parse(lines.Text())
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, lines.Err()
}

// unique returns n events that all differ, for scenarios that look for single records.
func unique(n int) []event {
	events := make([]event, n)
	for i := range events {
		events[i] = event{key: "k" + strconv.Itoa(i%97), value: "event " + strconv.Itoa(i)}
	}
	return events
}

// keyed is events as console producers read them: key, tabulator, value, a line each.
func keyed(events []event) io.Reader {
	var b strings.Builder
	for _, e := range events {
		b.WriteString(e.key)
		b.WriteByte('\t')
		b.WriteString(e.value)
		b.WriteByte('\n')
	}
	return strings.NewReader(b.String())
}
