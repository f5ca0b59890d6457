package main

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otlpReceiver is an OTLP receiver over HTTP that keeps the spans it is sent.
type otlpReceiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans map[string][]*tracev1.Span // by name
}

func startReceiver(t *testing.T) *otlpReceiver {
	r := &otlpReceiver{spans: map[string][]*tracev1.Span{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.receive))
	t.Cleanup(r.Close)
	return r
}

func (r *otlpReceiver) receive(w http.ResponseWriter, req *http.Request) {
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unzipped
	}
	var sent collector.ExportTraceServiceRequest
	b, err := io.ReadAll(body)
	if err == nil {
		err = proto.Unmarshal(b, &sent)
	}
	if err != nil || req.URL.Path != "/v1/traces" {
		http.Error(w, req.URL.Path, http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range sent.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				r.spans[s.GetName()] = append(r.spans[s.GetName()], s)
			}
		}
	}
}

// received returns the spans by name.
func (r *otlpReceiver) received() map[string][]*tracev1.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spans
}

// The spans of a produce arrive, below each other, at the latest when the node ends.
func TestSpansAreSent(t *testing.T) {
	r := startReceiver(t)
	n := startBroker(t, "--otlp-endpoint", r.URL, "--otlp-sample", "1")
	succeed(t, "", "topic", "create", "events")
	succeed(t, "hello\n", "produce", "events")
	require.Equal(t, exitOK, n.stop(t))
	spans := r.received()
	require.NotEmpty(t, spans["wal.commit"])
	require.Len(t, spans["produce"], 1)
	produce := spans["produce"][0]
	for _, name := range []string{"append", "commit"} {
		require.Len(t, spans[name], 1)
		require.Equal(t, produce.GetSpanId(), spans[name][0].GetParentSpanId())
		require.GreaterOrEqual(t, spans[name][0].GetStartTimeUnixNano(), produce.GetStartTimeUnixNano())
	}
	links := 0
	for _, s := range spans["wal.commit"] {
		for _, l := range s.GetLinks() {
			require.Equal(t, produce.GetSpanId(), l.GetSpanId())
			links++
		}
	}
	require.Equal(t, 1, links)
}

// Of the requests a share is sent, if that is what is wanted none.
func TestSpansAreSampled(t *testing.T) {
	r := startReceiver(t)
	n := startBroker(t, "--otlp-endpoint", r.URL, "--otlp-sample", "0")
	succeed(t, "", "topic", "create", "events")
	succeed(t, "hello\n", "produce", "events")
	succeed(t, "", "tiering", "seal", "--wait")
	require.Equal(t, exitOK, n.stop(t))
	spans := r.received()
	require.NotEmpty(t, spans["seal"], "rare spans are always sent")
	require.Empty(t, spans["produce"])
	require.Empty(t, spans["commit"])
}

// What was done for a request that is sampled is sent with it, whatever the share.
func TestLinkedSpansAreSampled(t *testing.T) {
	s := sampler{sdk.NeverSample()}
	link := func(f trace.TraceFlags) trace.Link {
		return trace.Link{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: f})}
	}
	require.Equal(t, sdk.Drop, s.ShouldSample(sdk.SamplingParameters{Name: "wal.commit", Links: []trace.Link{link(0)}}).Decision)
	require.Equal(t, sdk.RecordAndSample, s.ShouldSample(sdk.SamplingParameters{Name: "wal.commit", Links: []trace.Link{link(0), link(trace.FlagsSampled)}}).Decision)
}

// A receiver that is away holds nothing up; an endpoint that is none is refused.
func TestSpansWithoutReceiver(t *testing.T) {
	n := startBroker(t, "--otlp-endpoint", "http://"+freeAddr(t), "--otlp-sample", "1")
	succeed(t, "hello\n", "produce", "events")
	require.Equal(t, exitOK, n.stop(t))
	for _, wrong := range [][]string{{"--otlp-endpoint", "127.0.0.1:4318"}, {"--otlp-endpoint", "grpc://127.0.0.1:4317"}, {"--otlp-endpoint", "http://127.0.0.1:4318", "--otlp-sample", "2"}} {
		require.Equal(t, exitUsage, forebay(t, "", append([]string{"dev", "--memory", "--kafka-addr", "127.0.0.1:0", "--admin-addr", "", "--http-addr", ""}, wrong...)...).code)
	}
}
