package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// maxAnswer bounds how much of an answer is read, in bytes.
const maxAnswer = 1 << 20

// itemFailure names a record as AWS Lambda does for Kafka: by topic-partition and offset.
type itemFailure struct {
	ItemIdentifier struct {
		TopicPartition string `json:"topic-partition"`
		Offset         *int64 `json:"offset"`
	} `json:"itemIdentifier"`
}

// partial reads a partial batch response, {"batchItemFailures":[{"itemIdentifier":
// {"topic-partition":"orders-0","offset":17}}]}, and returns which records failed. An answer
// that is none, or names nothing, is about all of them. As with Lambda, a name that is no record of the
// batch, or a list that cannot be read to its end, makes all of it failed, which the error says.
func partial(answer []byte, records []*kgo.Record) ([]int, error) {
	answer = bytes.TrimSpace(answer)
	if len(answer) == 0 || answer[0] != '{' {
		return nil, nil
	}
	var head struct {
		Failures json.RawMessage `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(answer, &head); err != nil && bytes.Contains(answer, []byte(`"batchItemFailures"`)) {
		return nil, fmt.Errorf("batchItemFailures cannot be read in the %d bytes that are read of an answer at most: %w", maxAnswer, err)
	} else if err != nil || head.Failures == nil {
		return nil, nil
	}
	var failures []itemFailure
	if err := json.Unmarshal(head.Failures, &failures); err != nil {
		return nil, fmt.Errorf("batchItemFailures is not a list of topic-partition and offset: %w", err)
	}
	var items []int
	for _, f := range failures {
		i, ok := find(f, records)
		if !ok {
			return nil, fmt.Errorf("batchItemFailures names %q, which is no record of the batch", f.ItemIdentifier.TopicPartition)
		}
		items = append(items, i)
	}
	return items, nil
}

func find(f itemFailure, records []*kgo.Record) (int, bool) {
	for i, r := range records {
		if f.ItemIdentifier.Offset != nil && *f.ItemIdentifier.Offset == r.Offset && f.ItemIdentifier.TopicPartition == topicPartition(r) {
			return i, true
		}
	}
	return 0, false
}

func topicPartition(r *kgo.Record) string { return r.Topic + "-" + strconv.Itoa(int(r.Partition)) }

// answered is the result of a request that went well, by what its answer says.
func answered(answer []byte, records []*kgo.Record) Result {
	items, err := partial(answer, records)
	if err != nil {
		return Result{Verdict: Failed, Kind: "batchItemFailures", Reason: err.Error()}
	}
	return Result{Items: items, Kind: "batchItemFailures", Reason: "the receiver names the record among batchItemFailures"}
}
