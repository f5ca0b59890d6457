package broker

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/tiering/batch"
)

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var _ io.Writer = (*logBuffer)(nil)

// TestNothingIsUnknownDuringAnOutage: a broker that reaches neither table nor object store any more
// answers requests that need them with errors that clients retry, never with UNKNOWN_SERVER_ERROR:
// while its session lasts and when it has ended.
func TestNothingIsUnknownDuringAnOutage(t *testing.T) {
	var log logBuffer
	c := newTestCluster(t)
	m := c.start(1, func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	c.start(2)
	c.createTopic("t", 3, 2)
	topic, ok := m.meta.Image().Topic("t")
	require.True(t, ok)
	m.cut.Store(true)
	for _, session := range []string{"lasts", "has ended"} {
		t.Run(session, func(t *testing.T) {
			if session == "has ended" {
				eventually(t, "the end of the session", func() bool { return !m.valid() })
			}
			for _, req := range outageRequests(topic.ID) {
				t.Run(kmsg.NameForKey(req.Key()), func(t *testing.T) {
					resp := exchange(t, m, req)
					for _, code := range errorCodes(reflect.ValueOf(resp)) {
						err := kerr.TypedErrorForCode(code)
						require.True(t, err == nil || err.Retriable, "%v", err)
					}
				})
			}
		})
	}
	require.NotContains(t, log.String(), "UNKNOWN_SERVER_ERROR")
	require.Contains(t, log.String(), `level=WARN msg="cannot allocate producer ids"`)
}

// A broker whose session has ended names itself neither as a leader nor as a coordinator, nor as one of the brokers:
// clients are to ask others.
func TestNothingIsLedAfterTheSession(t *testing.T) {
	c := newTestCluster(t)
	m := c.start(1, unbalanced)
	c.createTopic("t", 1, 1)
	ask := kmsg.NewPtrMetadataRequest()
	ask.Version, ask.Topics = 12, []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("t")}}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.Version, find.CoordinatorKeys = 4, []string{"g"}
	put := c.asNode(m).produceRequest(10, -1, put{"t", 0, batchOfNow(batch.None, 1)})

	meta := exchangeAs[*kmsg.MetadataResponse](t, m, ask)
	require.EqualValues(t, 1, meta.Topics[0].Partitions[0].Leader)
	require.EqualValues(t, 1, exchangeAs[*kmsg.FindCoordinatorResponse](t, m, find).Coordinators[0].NodeID)

	m.cut.Store(true)
	eventually(t, "the end of the session", func() bool { return !m.valid() })
	meta = exchangeAs[*kmsg.MetadataResponse](t, m, ask)
	p := meta.Topics[0].Partitions[0]
	require.Equal(t, kerr.LeaderNotAvailable.Code, p.ErrorCode)
	require.EqualValues(t, -1, p.Leader)
	require.Empty(t, p.ISR)
	require.Empty(t, meta.Brokers)
	require.Equal(t, kerr.CoordinatorNotAvailable.Code, exchangeAs[*kmsg.FindCoordinatorResponse](t, m, find).Coordinators[0].ErrorCode)
	done := exchangeAs[*kmsg.ProduceResponse](t, m, put).Topics[0].Partitions[0]
	require.Equal(t, kerr.NotLeaderForPartition.Code, done.ErrorCode)
	require.EqualValues(t, -1, done.CurrentLeader.LeaderID)
}

// TestProducerIDsDuringAnOutage: producers wait for an id, as Kafka has them do; REQUEST_TIMED_OUT would end them.
func TestProducerIDsDuringAnOutage(t *testing.T) {
	c := newTestCluster(t)
	m := c.start(1)
	m.cut.Store(true)
	resp := exchangeAs[*kmsg.InitProducerIDResponse](t, m, producerIDRequest(nil))
	require.Equal(t, kerr.CoordinatorLoadInProgress, kerr.ErrorForCode(resp.ErrorCode))
}

// exchange sends one request to a member on a connection of its own.
func exchange(t *testing.T, m *member, req kmsg.Request) kmsg.Response {
	t.Helper()
	nc, err := net.Dial("tcp", m.Addrs()[0].String())
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	resp, err := roundTrip(nc, req)
	require.NoError(t, err)
	return resp
}

// exchangeAs is exchange for a response of that kind.
func exchangeAs[R kmsg.Response](t *testing.T, m *member, req kmsg.Request) R {
	t.Helper()
	resp, ok := exchange(t, m, req).(R)
	require.True(t, ok)
	return resp
}

// errorCodes are all codes of a response, wherever in it.
func errorCodes(v reflect.Value) (codes []int16) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			codes = errorCodes(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			codes = append(codes, errorCodes(v.Index(i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			switch f := v.Field(i); {
			case v.Type().Field(i).Name == "ErrorCode":
				codes = append(codes, int16(f.Int()))
			case v.Type().Field(i).IsExported():
				codes = append(codes, errorCodes(f)...)
			}
		}
	}
	return codes
}

func producerIDRequest(transactionalID *string) *kmsg.InitProducerIDRequest {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID, req.TransactionTimeoutMillis = 4, transactionalID, 60_000
	return req
}

// outageRequests are requests that need the table or the object store, and change topic "t".
func outageRequests(topic [16]byte) []kmsg.Request {
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version = 7
	wanted := kmsg.NewCreateTopicsRequestTopic()
	wanted.Topic, wanted.NumPartitions, wanted.ReplicationFactor = "new", 1, 1
	create.Topics = append(create.Topics, wanted)

	meta := kmsg.NewPtrMetadataRequest()
	meta.Version, meta.AllowAutoTopicCreation = 12, true
	meta.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("unseen")}}

	deletion := kmsg.NewPtrDeleteTopicsRequest()
	deletion.Version, deletion.Topics = 6, []kmsg.DeleteTopicsRequestTopic{{TopicID: topic}}

	more := kmsg.NewPtrCreatePartitionsRequest()
	more.Version, more.Topics = 3, []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 4}}

	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	alter.Version = 1
	alter.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t",
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: kmsg.StringPtr("1000")}},
	}}

	move := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	move.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{
		Topic: "t", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: 0, Replicas: []int32{2, 1}}},
	}}

	group := kmsg.NewPtrFindCoordinatorRequest()
	group.Version, group.CoordinatorKeys = 4, []string{"g"}
	transaction := kmsg.NewPtrFindCoordinatorRequest()
	transaction.Version, transaction.CoordinatorType, transaction.CoordinatorKeys = 4, coordinatesTransaction, []string{"x"}

	committed := kmsg.NewPtrOffsetFetchRequest()
	committed.Version, committed.Group = 7, "g"

	tiered := kmsg.NewPtrListOffsetsRequest()
	tiered.Version = 9
	for i, ts := range []int64{timeLatestTiered, timeEarliest, 0} {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = int32(i), ts
		tiered.Topics = append(tiered.Topics, kmsg.ListOffsetsRequestTopic{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}})
	}
	return []kmsg.Request{
		create, meta, deletion, more, alter, move, group, transaction, committed, tiered,
		producerIDRequest(nil), producerIDRequest(kmsg.StringPtr("x")),
	}
}
