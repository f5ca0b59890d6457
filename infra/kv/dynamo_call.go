package kv

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/forebaylog/forebay/infra/pause"
)

// Operations of DynamoDB that are used, as Request names them.
const (
	opGet      = "GetItem"
	opPut      = "PutItem"
	opDelete   = "DeleteItem"
	opQuery    = "Query"
	opDescribe = "DescribeTable"
	opCreate   = "CreateTable"
)

// call makes one request through the SDK, which does not repeat it.
type call func(ctx context.Context) (*types.ConsumedCapacity, error)

// read repeats a call that may be repeated whatever came of it. When no answer ever came, the
// table is unavailable, unless it was the caller's time that ended.
func (d *dynamo) read(ctx context.Context, op string, c call) error {
	got, err := d.repeat(ctx, op, c, func(o outcome) bool { return o == outcomeBusy || o == outcomeUnknown })
	if got == outcomeUnknown && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// repeat makes the call until its outcome is none that again accepts, with growing waits
// of random length between, up to MaxAttempts times and while ctx lasts. The SDK must
// not do it, as it would repeat a write whose reply was lost and then tell its
// success as a conflict.
func (d *dynamo) repeat(ctx context.Context, op string, c call, again func(outcome) bool) (outcome, error) {
	for n := 1; ; n++ {
		got, err := d.attempt(ctx, op, c)
		if err == nil || !again(got) || n >= d.cfg.MaxAttempts {
			return got, err
		}
		d.cfg.Logger.DebugContext(ctx, "table request failed, trying again", "table", d.cfg.Table, "operation", op, "attempt", n, "err", err)
		if ended := pause.For(ctx, d.backoff(n)); ended != nil {
			return got, fmt.Errorf("%w; last: %w", ended, err)
		}
	}
}

// backoff returns the wait after the n-th attempt: half of it is certain, half is random, so
// that those who failed together do not come back together.
func (d *dynamo) backoff(n int) time.Duration {
	wait := min(d.cfg.Backoff<<min(n-1, 20), maxBackoff)
	return wait/2 + rand.N(wait/2+1)
}

// attempt makes one request and says what came of it.
func (d *dynamo) attempt(ctx context.Context, op string, c call) (outcome, error) {
	limited, cancel := context.WithTimeout(ctx, d.cfg.AttemptTimeout)
	defer cancel()
	trace := &requestTrace{}
	began := time.Now()
	used, err := c(context.WithValue(limited, requestTraceKey{}, trace))
	took := time.Since(began)
	got := outcomeApplied
	if err != nil {
		got, err = d.judge(ctx, limited, trace, err)
	}
	if d.cfg.Observe != nil && trace.made.Load() {
		d.cfg.Observe(d.observed(op, used, took, got, err))
	}
	return got, err
}

func (d *dynamo) observed(op string, used *types.ConsumedCapacity, took time.Duration, got outcome, err error) Request {
	r := Request{Table: d.cfg.Table, Operation: op, Duration: took, Err: err}
	units := 0.0
	switch {
	case used != nil && used.CapacityUnits != nil:
		units = *used.CapacityUnits
	case got == outcomeConflict:
		units = 1
	}
	if op == opPut || op == opDelete {
		r.WriteUnits = units
	} else {
		r.ReadUnits = units
	}
	return r
}

// requestTrace is how far a request got; it travels in the context.
type requestTrace struct {
	made      atomic.Bool // the HTTP client was asked to send it
	connected atomic.Bool // it had a connection, so it may have left
}

type requestTraceKey struct{}

// tracingClient is the SDK's HTTP client. It notes how far each request got, and checks
// replies against their checksum if they have one, which the SDK only logs.
type tracingClient struct{ http *http.Client }

// Do implements dynamodb.HTTPClient.
func (c tracingClient) Do(req *http.Request) (*http.Response, error) {
	if trace, ok := req.Context().Value(requestTraceKey{}).(*requestTrace); ok {
		trace.made.Store(true)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			GotConn: func(httptrace.GotConnInfo) { trace.connected.Store(true) },
		}))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // what matters has been read
	if err != nil {
		return nil, err
	}
	if want := resp.Header.Get("X-Amz-Crc32"); want != "" && want != strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10) {
		return nil, fmt.Errorf("damaged reply: checksum %d, want %s", crc32.ChecksumIEEE(body), want)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// newHTTPClient keeps a connection for each of the writes that a caller or two may have
// under way. It speaks HTTP/1.1, as DynamoDB does: a lost connection costs one request.
// The transport repeats no POST of which anything was sent. The rest is the SDK's, above all
// the certificates that AWS_CA_BUNDLE names.
func newHTTPClient(sdk aws.HTTPClient, concurrency int) *http.Client {
	built, ok := sdk.(*awshttp.BuildableClient)
	if !ok {
		built = awshttp.NewBuildableClient()
	}
	transport := built.GetTransport()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 2*concurrency
	transport.IdleConnTimeout = 30 * time.Second
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	transport.TLSClientConfig.NextProtos = nil // which has h2
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
