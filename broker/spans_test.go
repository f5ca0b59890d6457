package broker

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/forebaylog/forebay/infra/tracing"
	"github.com/forebaylog/forebay/tiering/batch"
)

// traced returns a change of a Config that records spans, and those of a name that have ended.
func traced() (change func(*Config), ended func(name string) []sdk.ReadOnlySpan) {
	spans := tracetest.NewSpanRecorder()
	tracer := tracing.New(sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)))
	return func(cfg *Config) { cfg.Tracer = tracer }, func(name string) []sdk.ReadOnlySpan {
		return slices.DeleteFunc(spans.Ended(), func(s sdk.ReadOnlySpan) bool { return s.Name() != name })
	}
}

func TestSpansOfACluster(t *testing.T) {
	change, ended := traced()
	has := func(name string) bool { return len(ended(name)) > 0 }
	c := newTestCluster(t)
	dead := c.start(1, unbalanced)
	c.createTopic("t", 2, 1)
	c.start(2, change, unbalanced)
	c.move("t", 0, 2)
	c.awaitServing("t", 0, 2)
	c.mu.Lock()
	m := c.members[2]
	c.mu.Unlock()
	c.asNode(m).mustProduce("t", 0, batchOfNow(batch.None, 1))
	eventually(t, "the spans of a produce", func() bool { return has(spanProduce) && has(spanAppend) && has(spanCommit) })
	eventually(t, "the spans of its commit", func() bool { return has("wal.commit") && has("wal.put") && has("wal.slot") })
	links := ended("wal.commit")[0].Links()
	require.Len(t, links, 1, "the group names whom it was for")
	require.Equal(t, ended(spanProduce)[0].SpanContext(), links[0].SpanContext)
	require.True(t, has(spanAcquire))
	require.False(t, has(spanTakeOver))
	dead.cut.Store(true)
	eventually(t, "the span of a takeover", func() bool { return has(spanTakeOver) })
}

// A read from packs has a span, one from the hot tier none.
func TestSpansOfColdReads(t *testing.T) {
	change, ended := traced()
	has := func(name string) bool { return len(ended(name)) > 0 }
	n := startNode(t, change, func(cfg *Config) { cfg.Storage.HotBytes = 1 })
	_, err := n.admin().CreateTopics(t.Context(), 1, 1, nil, "t")
	require.NoError(t, err)
	n.mustProduce("t", 0, batchOfNow(batch.None, 3))
	n.fetch(n.fetchRequest(12, want{topic: "t"}))
	require.False(t, has(spanFetch))
	require.NoError(t, n.storage.journal.Roll())
	eventually(t, "the hot segment is dropped", func() bool { return n.logOf("t", 0).HotStart() == 3 })
	n.fetch(n.fetchRequest(12, want{topic: "t"}))
	require.True(t, has(spanFetch))
	require.True(t, has(spanSeal))
}
