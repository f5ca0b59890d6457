// Package tracing is what the packages of Forebay know of OpenTelemetry: spans that cost nothing
// where no Tracer is given. It exports nothing itself; the main that was asked to does.
// A nil *Tracer and a nil *Span may be used, and do nothing. Both are safe for concurrent use.
package tracing

import (
	"context"
	"iter"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Tracer begins spans.
type Tracer struct{ t trace.Tracer }

// New returns a Tracer of the provider.
func New(provider trace.TracerProvider) *Tracer {
	return &Tracer{provider.Tracer("github.com/forebaylog/forebay")}
}

// Start begins a span, below that of ctx if it has one. The span must be ended.
func (t *Tracer) Start(ctx context.Context, name string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	ctx, s := t.t.Start(ctx, name)
	return ctx, &Span{s}
}

// maxLinks bounds the links of a span: more than these are dropped by OpenTelemetry's SDK, unless it is told otherwise.
const maxLinks = 128

// Batch begins a span of what is done once for many, who are named by their spans and may be nil. It has links to
// those of them that are sampled, as OpenTelemetry's conventions ask of batches: to the first 128, and one for neighbours
// that are the same. It is below the span of ctx if that has one, and began when it is told. The span must be ended.
func (t *Tracer) Batch(ctx context.Context, name string, began time.Time, of iter.Seq[*Span]) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	var links []trace.Link
	var last *Span
	for s := range of {
		if s == nil || s == last || !s.s.SpanContext().IsSampled() {
			continue
		}
		if last = s; len(links) == maxLinks {
			break
		}
		links = append(links, trace.Link{SpanContext: s.s.SpanContext()})
	}
	ctx, s := t.t.Start(ctx, name, trace.WithTimestamp(began), trace.WithLinks(links...))
	return ctx, &Span{s}
}

// Past records a span that ends now and took so long, for what tells of its time only at the end. It is
// below the span of ctx if that has one.
func (t *Tracer) Past(ctx context.Context, name string, took time.Duration, err error) {
	if t == nil {
		return
	}
	now := time.Now()
	_, s := t.t.Start(ctx, name, trace.WithTimestamp(now.Add(-took)))
	fail(s, err)
	s.End(trace.WithTimestamp(now))
}

// Span is some work that is timed.
type Span struct{ s trace.Span }

// Set adds a number to what is told of the work.
func (s *Span) Set(key string, value int64) {
	if s != nil {
		s.s.SetAttributes(attribute.Int64(key, value))
	}
}

// Name adds a text to what is told of the work.
func (s *Span) Name(key, value string) {
	if s != nil {
		s.s.SetAttributes(attribute.String(key, value))
	}
}

// End ends the span, with why the work failed if it did.
func (s *Span) End(err error) {
	if s != nil {
		fail(s.s, err)
		s.s.End()
	}
}

func fail(s trace.Span, err error) {
	if err != nil {
		s.SetStatus(codes.Error, err.Error())
	}
}
