package tracing_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/forebaylog/forebay/infra/tracing"
)

// A batch is linked to those of its spans that are sampled, as far as the bound allows.
func TestBatch(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := tracing.New(sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)))
	unsampled := tracing.New(sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample())))
	ctx := context.Background()
	_, dropped := unsampled.Start(ctx, "request")
	of := []*tracing.Span{nil, dropped}
	for range 200 {
		_, s := tracer.Start(ctx, "request")
		of = append(of, s, s)
		s.End(nil)
	}
	began := time.Now().Add(-time.Minute)
	within, batch := tracer.Batch(ctx, "batch", began, slices.Values(of))
	_, below := tracer.Start(within, "below")
	below.End(nil)
	batch.End(nil)
	ended := spans.Ended()
	last := ended[len(ended)-1]
	require.Equal(t, "batch", last.Name())
	require.True(t, last.StartTime().Equal(began))
	require.False(t, last.Parent().IsValid())
	require.Equal(t, last.SpanContext(), ended[len(ended)-2].Parent())
	require.Len(t, last.Links(), 128)
	require.Zero(t, last.DroppedLinks())
	for i, l := range last.Links() {
		require.Equal(t, ended[i].SpanContext(), l.SpanContext)
	}
}

// Without a Tracer there are no spans, and nothing is asked for or allocated.
func TestNoTracer(t *testing.T) {
	var tracer *tracing.Tracer
	ctx := context.Background()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, s := tracer.Batch(ctx, "batch", time.Time{}, func(func(*tracing.Span) bool) { t.Error("spans are looked for") })
		s.Set("bytes", 1)
		s.End(nil)
	}))
}
