package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/lambda"
)

// Invoker invokes a function; *lambda.Function is one.
type Invoker interface {
	Invoke(ctx context.Context, payload []byte) (lambda.Answer, error)
}

// Function delivers to an AWS Lambda function, which gets what Lambda's own event source mapping
// for self-managed Kafka would give it, and may answer with batchItemFailures.
type Function struct {
	invoker Invoker
	brokers string
}

// NewFunction makes a Function. brokers is what the function is told the records come from.
func NewFunction(invoker Invoker, brokers []string) *Function {
	return &Function{invoker: invoker, brokers: strings.Join(brokers, ",")}
}

// Deliver implements Target.
func (f *Function) Deliver(ctx context.Context, records []*kgo.Record) Result {
	payload, err := f.event(records)
	if err != nil {
		return Result{Verdict: Refused, Kind: "encoding", Reason: err.Error()}
	}
	answer, err := f.invoker.Invoke(ctx, payload)
	var throttled *lambda.ThrottledError
	switch {
	case err == nil && answer.Failed == "":
		return answered(answer.Payload, records)
	case err == nil:
		return Result{Verdict: Failed, Kind: "FunctionError " + answer.Failed, Reason: fmt.Sprintf("the function fails: %.300s", answer.Payload)}
	case errors.As(err, &throttled):
		return Result{Verdict: Unavailable, Kind: "throttled", Reason: err.Error(), RetryAfter: min(throttled.RetryAfter, maxRetryAfter)}
	case errors.Is(err, lambda.ErrTooLarge):
		return Result{Verdict: Refused, Kind: "too large", Reason: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return Result{Verdict: Failed, Kind: "timeout", Reason: err.Error()}
	}
	return Result{Verdict: Unavailable, Kind: "invoke", Reason: err.Error()}
}

// kafkaEvent is the event that functions get from a self-managed Kafka. Bytes are in base64, and
// bytes of headers are numbers, signed as in Java.
type kafkaEvent struct {
	EventSource      string                   `json:"eventSource"`
	BootstrapServers string                   `json:"bootstrapServers"`
	Records          map[string][]kafkaRecord `json:"records"` // by topic-partition
}

type kafkaRecord struct {
	Topic         string             `json:"topic"`
	Partition     int32              `json:"partition"`
	Offset        int64              `json:"offset"`
	Timestamp     int64              `json:"timestamp"`
	TimestampType string             `json:"timestampType"`
	Key           []byte             `json:"key,omitempty"`
	Value         []byte             `json:"value,omitempty"`
	Headers       []map[string][]int `json:"headers"`
}

// event encodes the records. Those of a partition keep their order.
func (f *Function) event(records []*kgo.Record) ([]byte, error) {
	e := kafkaEvent{EventSource: "SelfManagedKafka", BootstrapServers: f.brokers, Records: map[string][]kafkaRecord{}}
	for _, r := range records {
		k := kafkaRecord{
			Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(), TimestampType: "CREATE_TIME",
			Key: r.Key, Value: r.Value, Headers: []map[string][]int{},
		}
		if r.Attrs.TimestampType() == 1 {
			k.TimestampType = "LOG_APPEND_TIME"
		}
		for _, h := range r.Headers {
			signed := make([]int, len(h.Value))
			for i, b := range h.Value {
				signed[i] = int(int8(b))
			}
			k.Headers = append(k.Headers, map[string][]int{h.Key: signed})
		}
		e.Records[topicPartition(r)] = append(e.Records[topicPartition(r)], k)
	}
	payload, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode %d records: %w", len(records), err)
	}
	return payload, nil
}
