package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/cmd/forebay/internal/events"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a server of events on a broker in memory.
type rig struct {
	t       *testing.T
	broker  *broker.Broker
	server  *events.Server
	http    *httptest.Server
	client  *kgo.Client
	metrics *prometheus.Registry
}

func newRig(t *testing.T, cfg events.Config) *rig {
	t.Helper()
	r := &rig{t: t, metrics: prometheus.NewRegistry()}
	log := slog.New(slog.DiscardHandler)
	var err error
	r.broker, err = broker.Open(t.Context(), broker.Config{
		NodeID: 1, Listeners: []broker.Listener{{BindAddr: "127.0.0.1:0"}}, Logger: log,
		Metadata: kv.NewMem(), Offsets: kv.NewMem(), Objects: objstore.NewMem(), FS: vfs.NewMem(),
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.broker.Close(context.Background()) })
	cfg.Brokers, cfg.Logger, cfg.Registerer = []string{r.broker.Addrs()[0].String()}, log, r.metrics
	r.server, err = events.Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = r.server.Close(ctx)
	})
	r.http = httptest.NewServer(r.server)
	t.Cleanup(r.http.Close)
	r.client, err = kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...))
	require.NoError(t, err)
	t.Cleanup(r.client.Close)
	return r
}

func (r *rig) create(topic string, configs map[string]*string) {
	r.t.Helper()
	_, err := kadm.NewClient(r.client).CreateTopic(r.t.Context(), 3, 1, configs, topic)
	require.NoError(r.t, err)
}

// reply is an answer of the server, whichever it is.
type reply struct {
	status int
	header http.Header
	body   string
	doc    struct {
		Topic      string
		Status     int
		Title      string
		Detail     string
		KafkaError string `json:"kafka_error"`
		Invalid    []struct {
			Index             int
			Attribute, Detail string
		}
		Events []struct {
			ID         string
			Partition  *int32
			Offset     *int64
			KafkaError string `json:"kafka_error"`
		}
	}
}

func (r *rig) post(topic, body string, headers ...string) reply {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.http.URL+"/topics/"+topic+"/events", strings.NewReader(body))
	require.NoError(r.t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := r.http.Client().Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	a := reply{status: resp.StatusCode, header: resp.Header, body: string(text)}
	require.NoError(r.t, json.Unmarshal(text, &a.doc), string(text))
	if a.status != http.StatusOK {
		require.Equal(r.t, "application/problem+json", resp.Header.Get("Content-Type"))
		require.Equal(r.t, a.status, a.doc.Status)
	}
	return a
}

// read returns the record that an answer says is there.
func (r *rig) read(topic string, partition int32, offset int64) *kgo.Record {
	r.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(r.broker.Addrs()[0].String()), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(offset)}}))
	require.NoError(r.t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	records := c.PollFetches(ctx).Records()
	require.NotEmpty(r.t, records)
	require.Equal(r.t, offset, records[0].Offset)
	return records[0]
}

func headersOf(r *kgo.Record) map[string]string {
	m := make(map[string]string)
	for _, h := range r.Headers {
		m[h.Key] = string(h.Value)
	}
	return m
}

const jsonMode, batchMode = "Content-Type: application/cloudevents+json", "Content-Type: application/cloudevents-batch+json; charset=utf-8"

func TestModes(t *testing.T) {
	r := newRig(t, events.Config{})
	r.create("orders", nil)
	base := map[string]string{"ce_specversion": "1.0", "ce_id": "a", "ce_source": "/shop", "ce_type": "order.placed"}
	with := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for k, v := range base {
			m[k] = v
		}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	binary := []string{"ce-specversion: 1.0", "ce-id: a", "ce-source: /shop", "ce-type: order.placed"}
	tests := []struct {
		name    string
		body    string
		headers []string
		key     []byte
		value   []byte
		want    map[string]string
	}{
		{"binary", "\x00\xff", append(binary, "Content-Type: image/png", "ce-partitionkey: k"), []byte("k"), []byte("\x00\xff"), with("content-type", "image/png", "ce_partitionkey", "k")},
		{"binary without media type, without data", "", binary, nil, nil, base},
		{
			"binary with every attribute", `{"n":1}`,
			append(binary, "Content-Type: application/json", "ce-subject: S%20%C3%BC%20100%25", "ce-dataschema: http://s/1", "ce-time: 2026-01-31T12:00:00.5Z", "ce-n: 7"),
			nil, []byte(`{"n":1}`),
			with("content-type", "application/json", "ce_subject", "S ü 100%", "ce_dataschema", "http://s/1", "ce_time", "2026-01-31T12:00:00.5Z", "ce_n", "7"),
		},
		{"binary with a bare percent sign", "x", append(binary, "ce-subject: 100%"), nil, []byte("x"), with("ce_subject", "100%")},
		{
			"structured", `{"specversion":"1.0","id":"a","source":"/shop","type":"order.placed","partitionkey":"ü","flag":true,"n":7,"none":null,"data":{"x": [1, 2]}}`,
			[]string{jsonMode},
			[]byte("ü"), []byte(`{"x": [1, 2]}`), with("ce_partitionkey", "ü", "ce_flag", "true", "ce_n", "7"),
		},
		{
			"structured, data in base64", `{"data_base64":"AP8=","datacontenttype":"image/png","specversion":"1.0","id":"a","source":"/shop","type":"order.placed"}`,
			[]string{jsonMode},
			nil, []byte("\x00\xff"), with("content-type", "image/png"),
		},
		{
			"structured, text", `{"specversion":"1.0","id":"a","source":"/shop","type":"order.placed","datacontenttype":"text/plain","data":"Grüße"}`,
			[]string{jsonMode + "; charset=utf-8"},
			nil, []byte("Grüße"), with("content-type", "text/plain"),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := r.post("orders", tt.body, tt.headers...)
			require.Equal(t, http.StatusOK, a.status, a.body)
			require.Equal(t, "orders", a.doc.Topic)
			require.Len(t, a.doc.Events, 1)
			require.Equal(t, "a", a.doc.Events[0].ID)
			record := r.read("orders", *a.doc.Events[0].Partition, *a.doc.Events[0].Offset)
			require.Equal(t, tt.key, record.Key)
			require.Equal(t, tt.value, record.Value)
			require.Equal(t, tt.want, headersOf(record))
		})
	}
}

func TestBatch(t *testing.T) {
	r := newRig(t, events.Config{})
	r.create("orders", nil)
	var b bytes.Buffer
	for i := range 100 {
		fmt.Fprintf(&b, `%c{"specversion":"1.0","id":"%d","source":"/s","type":"t","partitionkey":"k%d","data":%d}`, "[,"[min(i, 1)], i, i%7, i)
	}
	b.WriteByte(']')
	a := r.post("orders", b.String(), batchMode)
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Len(t, a.doc.Events, 100)
	last := map[int32]int64{}
	for i, e := range a.doc.Events {
		require.Equal(t, fmt.Sprint(i), e.ID)
		if before, ok := last[*e.Partition]; ok {
			require.Greater(t, *e.Offset, before, "in the order of the batch")
		}
		last[*e.Partition] = *e.Offset
	}
	record := r.read("orders", *a.doc.Events[42].Partition, *a.doc.Events[42].Offset)
	require.Equal(t, "42", string(record.Value))
	a = r.post("orders", "[]", batchMode)
	require.Equal(t, http.StatusOK, a.status)
	require.Empty(t, a.doc.Events)
	require.NoError(t, testutil.GatherAndCompare(r.metrics, strings.NewReader(`
# HELP forebay_events_accepted_total CloudEvents that were written and acknowledged, by content mode.
# TYPE forebay_events_accepted_total counter
forebay_events_accepted_total{mode="batch"} 100
# HELP forebay_events_in_flight_bytes Bytes of requests and records that are not answered yet.
# TYPE forebay_events_in_flight_bytes gauge
forebay_events_in_flight_bytes 0
`), "forebay_events_accepted_total", "forebay_events_in_flight_bytes"))
}

func TestRefused(t *testing.T) {
	small := "2000"
	r := newRig(t, events.Config{MaxBody: 1 << 20, MaxEvents: 2})
	r.create("orders", nil)
	r.create("small", map[string]*string{"max.message.bytes": &small})
	compact := "compact"
	r.create("compacted", map[string]*string{"cleanup.policy": &compact})
	ok := `{"specversion":"1.0","id":"a","source":"/s","type":"t"}`
	large := strings.Repeat("x", 5000)
	binary := func(more ...string) []string {
		return append([]string{"ce-specversion: 1.0", "ce-id: a", "ce-source: /s", "ce-type: t"}, more...)
	}
	tests := []struct {
		name, topic, body string
		headers           []string
		status            int
		kafka, attribute  string
		says              string
	}{
		{"no such topic", "nope", ok, []string{jsonMode}, 404, "UNKNOWN_TOPIC_OR_PARTITION", "", "forebay topic create"},
		{"no name of a topic", "a%20b", ok, []string{jsonMode}, 400, "INVALID_TOPIC_EXCEPTION", "", "no name of a topic"},
		{"plain JSON", "orders", `{"a":1}`, []string{"Content-Type: application/json"}, 400, "", "specversion", "ce-specversion: 1.0"},
		{"another format", "orders", ok, []string{"Content-Type: application/cloudevents+avro"}, 415, "", "", "not supported"},
		{"no media type", "orders", ok, []string{"Content-Type: ;"}, 415, "", "", "no media type"},
		{"no JSON", "orders", `{"specversion"`, []string{jsonMode}, 400, "", "", "not a JSON object"},
		{"an array as one event", "orders", `[]`, []string{jsonMode}, 400, "", "", "not a JSON object"},
		{"one event as a batch", "orders", ok, []string{batchMode}, 400, "", "", "JSON array"},
		{"no specversion", "orders", `{"id":"a","source":"/s","type":"t"}`, []string{jsonMode}, 400, "", "specversion", "missing"},
		{"version 0.3", "orders", `{"specversion":"0.3","id":"a","source":"/s","type":"t"}`, []string{jsonMode}, 400, "", "specversion", "1.0"},
		{"version 0.3, binary", "orders", "", []string{"ce-specversion: 0.3", "ce-id: a"}, 400, "", "specversion", "0.3"},
		{"no id", "orders", `{"specversion":"1.0","source":"/s","type":"t"}`, []string{jsonMode}, 400, "", "id", "non-empty"},
		{"no type, binary", "orders", "", []string{"ce-specversion: 1.0", "ce-id: a", "ce-source: /s"}, 400, "", "type", "non-empty"},
		{"data twice", "orders", `{"specversion":"1.0","id":"a","source":"/s","type":"t","data":1,"data_base64":"AA=="}`, []string{jsonMode}, 400, "", "data", "data or data_base64"},
		{"data that is no base64", "orders", `{"data_base64":1,"specversion":"1.0","id":"a","source":"/s","type":"t"}`, []string{jsonMode}, 400, "", "data", "must be a string"},
		{"data of another type", "orders", `{"specversion":"1.0","id":"a","source":"/s","type":"t","datacontenttype":"text/plain","data":{}}`, []string{jsonMode}, 400, "", "data", "is not JSON"},
		{"data in a header", "orders", "x", binary("ce-data: x"), 400, "", "data", "the body"},
		{"an id that is a number", "orders", `{"specversion":"1.0","id":1,"source":"/s","type":"t"}`, []string{jsonMode}, 400, "", "id", "must be a string"},
		{"a time that is none", "orders", `{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"noon"}`, []string{jsonMode}, 400, "", "time", "RFC 3339"},
		{"an extension that is an object", "orders", `{"specversion":"1.0","id":"1","source":"/s","type":"t","x":{}}`, []string{jsonMode}, 400, "", "x", "a boolean"},
		{"an extension that is too large a number", "orders", `{"specversion":"1.0","id":"1","source":"/s","type":"t","x":3000000000}`, []string{jsonMode}, 400, "", "x", "32 bits"},
		{"bad time", "orders", "", binary("ce-time: yesterday"), 400, "", "time", "yesterday"},
		{"no time", "orders", "", binary("ce-time: "), 400, "", "time", "RFC 3339"},
		{"a media type in two headers", "orders", "", binary("Content-Type: text/plain", "ce-datacontenttype: text/plain"), 400, "", "datacontenttype", "twice"},
		{"an attribute twice", "orders", "", binary("ce-id: b"), 400, "", "id", "twice"},
		{"an extension with a bad name", "orders", "", binary("ce-a_b: x"), 400, "", "a_b", "letters and digits"},
		{"an extension with a bad name, JSON", "orders", `{"specversion":"1.0","id":"a","source":"/s","type":"t","a-b":1}`, []string{jsonMode}, 400, "", "a-b", "letters and digits"},
		{"larger than the request may be", "orders", strings.Repeat("x", 2<<20), binary(), 413, "MESSAGE_TOO_LARGE", "", "1048576"},
		{"larger than the topic allows", "small", large, binary(), 413, "MESSAGE_TOO_LARGE", "", "max.message.bytes"},
		{"more events than a request may have", "orders", "[" + ok + "," + ok + "," + ok + "]", []string{batchMode}, 413, "", "", "at most 2"},
		{"no key for a compacted topic", "compacted", "x", binary(), 400, "INVALID_RECORD", "", "partitionkey"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := r.post(tt.topic, tt.body, tt.headers...)
			require.Equal(t, tt.status, a.status, a.body)
			require.Equal(t, tt.kafka, a.doc.KafkaError)
			require.Contains(t, a.doc.Detail, tt.says)
			if tt.attribute != "" {
				require.Equal(t, tt.attribute, a.doc.Invalid[0].Attribute, a.body)
			}
		})
	}
	ends, err := kadm.NewClient(r.client).ListEndOffsets(t.Context(), "orders")
	require.NoError(t, err)
	ends.Each(func(o kadm.ListedOffset) { require.Zero(t, o.Offset, "nothing was written") })
}

// Of a batch with an event that is not valid nothing is written, and all that is wrong is told.
func TestBatchIsCheckedFirst(t *testing.T) {
	r := newRig(t, events.Config{})
	r.create("orders", nil)
	a := r.post("orders", `[{"specversion":"1.0","id":"a","source":"/s","type":"t"},{"specversion":"1.0","source":"/s"},7]`, batchMode)
	require.Equal(t, http.StatusBadRequest, a.status)
	var got []string
	for _, i := range a.doc.Invalid {
		got = append(got, fmt.Sprintf("%d %s", i.Index, i.Attribute))
	}
	require.Equal(t, []string{"1 id", "1 type", "2 "}, got)
	ends, err := kadm.NewClient(r.client).ListEndOffsets(t.Context(), "orders")
	require.NoError(t, err)
	ends.Each(func(o kadm.ListedOffset) { require.Zero(t, o.Offset) })
}

// A batch of which a part is refused says what came of each event.
func TestBatchInPart(t *testing.T) {
	small := "2000"
	r := newRig(t, events.Config{})
	r.create("small", map[string]*string{"max.message.bytes": &small})
	event := func(id, key, data string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/s","type":"t","partitionkey":%q,"data":%q}`, id, key, data)
	}
	a := r.post("small", "["+event("a", "1", "x")+","+event("b", "2", strings.Repeat("x", 3000))+"]", batchMode)
	require.Equal(t, http.StatusRequestEntityTooLarge, a.status, a.body)
	require.Len(t, a.doc.Events, 2)
	require.NotNil(t, a.doc.Events[0].Offset)
	require.Equal(t, "MESSAGE_TOO_LARGE", a.doc.Events[1].KafkaError)
	require.Nil(t, a.doc.Events[1].Offset)
}

func TestOtherRequests(t *testing.T) {
	r := newRig(t, events.Config{})
	for _, tt := range []struct {
		method, path string
		status       int
	}{{http.MethodGet, "/topics/orders/events", 405}, {http.MethodPost, "/", 404}, {http.MethodPost, "/topics//events", 404}} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, r.http.URL+tt.path, nil)
		require.NoError(t, err)
		client := *r.http.Client()
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, err := client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		if tt.status == 404 && resp.StatusCode == http.StatusTemporaryRedirect { // a path that is cleaned
			continue
		}
		require.Equal(t, tt.status, resp.StatusCode, tt.path)
	}
}

// A broker that does not answer is no reason to wait longer than the limit, nor for a sender to give up.
func TestBrokerAway(t *testing.T) {
	r := newRig(t, events.Config{Timeout: time.Second})
	r.create("orders", nil)
	one := []string{"ce-specversion: 1.0", "ce-id: a", "ce-source: /s", "ce-type: t"}
	require.Equal(t, http.StatusOK, r.post("orders", "x", one...).status)
	require.NoError(t, r.broker.Close(t.Context()))
	for _, topic := range []string{"orders", "unknown"} {
		a := r.post(topic, "x", one...)
		require.Equal(t, http.StatusServiceUnavailable, a.status, a.body)
		require.Equal(t, "1", a.header.Get("Retry-After"))
		require.Contains(t, a.doc.Detail, "send it again")
	}
}

// What is on its way is bounded.
func TestInFlightIsBounded(t *testing.T) {
	r := newRig(t, events.Config{MaxBody: 1000, MaxInFlight: 4000})
	r.create("orders", nil)
	parked := make([]*io.PipeWriter, 4)
	answered := make(chan int, len(parked))
	for i := range parked {
		body, in := io.Pipe()
		parked[i] = in
		go func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.http.URL+"/topics/orders/events", body)
			if err != nil {
				answered <- 0
				return
			}
			req.Header = http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"a"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}}
			resp, err := r.http.Client().Do(req)
			if err != nil {
				answered <- 0
				return
			}
			resp.Body.Close()
			answered <- resp.StatusCode
		}()
	}
	require.Eventually(t, func() bool {
		families, err := r.metrics.Gather()
		if err != nil {
			return false
		}
		for _, f := range families {
			if f.GetName() == "forebay_events_in_flight_bytes" {
				return f.GetMetric()[0].GetGauge().GetValue() == 4000
			}
		}
		return false
	}, 10*time.Second, time.Millisecond)
	a := r.post("orders", "x", "ce-specversion: 1.0", "ce-id: a", "ce-source: /s", "ce-type: t")
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.Equal(t, "THROTTLING_QUOTA_EXCEEDED", a.doc.KafkaError)
	require.Equal(t, "1", a.header.Get("Retry-After"))
	ok := 0
	for _, in := range parked {
		require.NoError(t, in.Close())
		if <-answered == http.StatusOK {
			ok++
		}
	}
	require.Positive(t, ok, "with the others gone there is room")
}

// Close waits for the requests that are there, and refuses those that come.
func TestClose(t *testing.T) {
	r := newRig(t, events.Config{})
	r.create("orders", nil)
	require.NoError(t, r.server.Close(t.Context()))
	a := r.post("orders", "x", "ce-specversion: 1.0", "ce-id: a", "ce-source: /s", "ce-type: t")
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.Equal(t, "BROKER_NOT_AVAILABLE", a.doc.KafkaError)
}
