package wal_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/tracing"
	"github.com/forebaylog/forebay/tiering/wal"
)

// The spans of a WAL object are below that of its group, which is linked to the requests; a slot's is linked to
// the objects that it commits. All end, also when the stream has failed.
func TestSpansOfAStream(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := tracing.New(sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)))
	named := func(name string) (list []sdk.ReadOnlySpan) {
		for _, s := range spans.Ended() {
			if s.Name() == name {
				list = append(list, s)
			}
		}
		return list
	}
	inBubble(t, func(t *testing.T, r *streamRig) {
		append1 := func() (*tracing.Span, *appended) {
			_, request := tracer.Start(context.Background(), "request")
			r.span = request
			a := r.chunk(1)
			request.End(nil)
			return request, a
		}
		_, first := append1()
		require.NoError(t, first.await())
		require.Len(t, named("wal.commit"), 1)
		require.Len(t, named("wal.put"), 1)
		require.Len(t, named("wal.slot"), 1)
		request, group, put, slot := named("request")[0], named("wal.commit")[0], named("wal.put")[0], named("wal.slot")[0]
		require.Equal(t, []sdk.Link{{SpanContext: request.SpanContext()}}, group.Links())
		require.Equal(t, group.SpanContext(), put.Parent())
		require.Equal(t, []sdk.Link{{SpanContext: put.SpanContext()}}, slot.Links())

		r.faults(nil, func(objstore.Op) error { return errors.New("the store is away") })
		_, second := append1()
		require.NoError(t, r.stream.Close(context.Background()))
		require.Error(t, second.await())
		require.Len(t, spans.Ended(), len(spans.Started()), "all have ended")
		require.Equal(t, "Error", named("wal.put")[1].Status().Code.String())
	}, func(s *wal.StreamConfig, g *wal.Config) { s.Tracer, g.Tracer = tracer, tracer })
}
