package events

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/twmb/franz-go/pkg/kgo"
)

// partitionKey is the extension that becomes the key of the record.
const partitionKey = "partitionkey"

// recordOverhead is what a record takes in memory beside its bytes, roughly.
const recordOverhead = 512

// toRecord makes a valid event a record, as the Kafka binding of CloudEvents says for its
// binary mode. An event without a partitionkey has no key, and one without data no value,
// which in a compacted topic deletes its key. Headers are sorted by name, so that the same
// event makes the same record.
func toRecord(topic string, e event.Event) (*kgo.Record, error) {
	r := &kgo.Record{Topic: topic, Value: e.Data()}
	set := func(name string, value any) error {
		text, err := types.Format(value)
		if err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(text)})
		return nil
	}
	attributes := map[string]any{"ce_specversion": e.SpecVersion(), "ce_id": e.ID(), "ce_source": e.Source(), "ce_type": e.Type()}
	for name, value := range map[string]string{"ce_subject": e.Subject(), "ce_dataschema": e.DataSchema(), "content-type": e.DataContentType()} {
		if value != "" {
			attributes[name] = value
		}
	}
	if t := e.Time(); !t.IsZero() {
		attributes["ce_time"] = t
	}
	for name, value := range e.Extensions() {
		attributes["ce_"+name] = value
	}
	for _, name := range sortedKeys(attributes) {
		if err := set(name, attributes[name]); err != nil {
			return nil, err
		}
	}
	if key, ok := e.Extensions()[partitionKey]; ok {
		text, err := types.Format(key)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", partitionKey, err)
		}
		r.Key = []byte(text)
	}
	return r, nil
}

// size is what a record takes in memory, roughly.
func size(r *kgo.Record) int64 {
	n := recordOverhead + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return int64(n)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
