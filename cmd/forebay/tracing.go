package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/infra/tracing"
)

// tracingCloseTimeout bounds how long the end of a node waits for the last spans to be sent.
const tracingCloseTimeout = 2 * time.Second

// openTracing sends spans to an OTLP receiver over HTTP, such as http://127.0.0.1:4318. Without an
// endpoint there is no tracer. ratio is the share of the requests that are traced; takeovers and passes of
// sealing always are. close sends what is left.
func openTracing(ctx context.Context, endpoint string, ratio float64, node int32) (_ *tracing.Tracer, closeAll func(), err error) {
	if endpoint == "" {
		return nil, func() {}, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil, usageErrorf("--otlp-endpoint %q: want http://host:port or https://host:port", endpoint)
	}
	if ratio < 0 || ratio > 1 {
		return nil, nil, usageErrorf("--otlp-sample %v: must be from 0 to 1", ratio)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, nil, fmt.Errorf("open --otlp-endpoint %s: %w", endpoint, err)
	}
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(exporter), sdk.WithSampler(sdk.ParentBased(sampler{sdk.TraceIDRatioBased(ratio)})),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "forebay"), attribute.String("service.version", versionString()), attribute.Int64("service.instance.id", int64(node)),
		)),
	)
	return tracing.New(provider), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracingCloseTimeout)
		defer cancel()
		_ = provider.Shutdown(ctx) // a receiver that is away is no reason to fail
	}, nil
}

// sampler takes a share of what is frequent, and all of what is rare or was done for something that is sampled.
type sampler struct{ frequent sdk.Sampler }

// ShouldSample implements sdk.Sampler.
func (s sampler) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	linked := slices.ContainsFunc(p.Links, func(l trace.Link) bool { return l.SpanContext.IsSampled() })
	if linked || broker.RareSpan(p.Name) {
		return sdk.AlwaysSample().ShouldSample(p)
	}
	return s.frequent.ShouldSample(p)
}

// Description implements sdk.Sampler.
func (s sampler) Description() string {
	return "rare spans, what is linked to sampled ones, and " + s.frequent.Description()
}
