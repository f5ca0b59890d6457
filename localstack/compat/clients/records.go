package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
)

// event is a record as it is produced.
type event struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Time  int64  `json:"time"` // ms since 1970
}

// position is where a record is in a topic.
type position struct {
	partition int32
	offset    int64
}

// loadEvents returns the earthquakes of the end-to-end tests, keyed by their ids.
func loadEvents(ctx context.Context) ([]event, error) {
	root, err := rig.Root(ctx)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(root, "localstack", "e2e", "testdata", "earthquakes.ndjson"))
	if err != nil {
		return nil, fmt.Errorf("read the earthquakes: %w", err)
	}
	defer file.Close()
	var events []event
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var quake struct {
			ID         string
			Properties struct{ Time int64 }
		}
		if err := json.Unmarshal(lines.Bytes(), &quake); err != nil {
			return nil, fmt.Errorf("read the earthquakes: %w", err)
		}
		events = append(events, event{quake.ID, lines.Text(), quake.Properties.Time})
	}
	return events, lines.Err()
}

// writeEvents writes the events as the applications read them.
func writeEvents(name string, events []event) error {
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write the events: %w", err)
	}
	out := json.NewEncoder(file)
	for _, e := range events {
		if err := out.Encode(e); err != nil {
			_ = file.Close()
			return fmt.Errorf("write the events: %w", err)
		}
	}
	return file.Close()
}

// with gives f a client of ours.
func with(brokers []string, f func(*kadm.Client) error, opts ...kgo.Opt) error {
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...))...)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	defer c.Close()
	return f(kadm.NewClient(c))
}

func createTopic(ctx context.Context, brokers []string, topic string) error {
	return with(brokers, func(c *kadm.Client) error {
		forever := "-1" // the events are years old
		_, err := c.CreateTopic(ctx, partitions, -1, map[string]*string{"retention.ms": &forever}, topic)
		return err
	})
}

// committed is how many records of the topic are before the offsets of a group.
func committed(ctx context.Context, brokers []string, group, topic string) (n int64, err error) {
	err = with(brokers, func(c *kadm.Client) error {
		offsets, err := c.FetchOffsets(ctx, group)
		if err != nil {
			return err
		}
		offsets.Each(func(o kadm.OffsetResponse) {
			if o.Topic == topic && o.At > 0 {
				n += o.At
			}
		})
		return nil
	})
	return n, err
}

// read reads the committed records of a topic up to its end, markers included, which must be n
// beside the markers.
func read(ctx context.Context, brokers []string, topic string, n int) (map[position]event, error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	defer c.Close()
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("look for the end of %s: %w", topic, err)
	}
	left := 0 // partitions that are not read to their ends
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left++
		}
	})
	got := map[position]event{}
	for left > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read %s, %d of %d records so far: %w", topic, len(got), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if o, ok := ends.Lookup(topic, r.Partition); ok && r.Offset == o.Offset-1 {
				left--
			}
			if !r.Attrs.IsControl() {
				got[position{r.Partition, r.Offset}] = event{string(r.Key), string(r.Value), r.Timestamp.UnixMilli()}
			}
		})
	}
	if len(got) != n {
		return nil, fmt.Errorf("%s has %d records, want %d", topic, len(got), n)
	}
	return got, nil
}

func eventsOf(records map[position]event) []event {
	events := make([]event, 0, len(records))
	for _, e := range records {
		events = append(events, e)
	}
	return events
}

// same checks that the records are the events, each as many times as it is among them.
func same(want []event, got map[position]event) error {
	left := map[event]int{}
	for _, e := range want {
		left[e]++
	}
	for at, e := range got {
		if left[e]--; left[e] < 0 {
			return fmt.Errorf("record %d of partition %d is not among the events, or twice: key %q, time %d", at.offset, at.partition, e.Key, e.Time)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d records, want %d", len(got), len(want))
	}
	return nil
}
