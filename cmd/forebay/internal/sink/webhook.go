package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/cmd/forebay/internal/format"
)

// Format is what the body of a webhook is.
type Format string

// The formats.
const (
	// FormatCloudEvents sends one event in the binary mode of CloudEvents, or more in its JSON batch format.
	FormatCloudEvents Format = "cloudevents"
	// FormatJSON sends an array of records in the envelope that kcat and 'forebay consume' have for JSON.
	FormatJSON Format = "json"
)

// WebhookConfig says where a Webhook posts to, and how.
type WebhookConfig struct {
	URL    string
	Format Format
	// Batch sends batches, also those of one record; without it each record goes alone.
	Batch bool
	// Header is added to each request, such as Authorization.
	Header http.Header
	// Concurrency is how many requests there will be at once.
	Concurrency int
}

// Webhook posts records to a URL.
type Webhook struct {
	cfg    WebhookConfig
	client *http.Client
}

// NewWebhook makes a Webhook. Redirects are not followed.
func NewWebhook(cfg WebhookConfig) (*Webhook, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is no http:// or https:// URL", cfg.URL)
	}
	if cfg.Format != FormatCloudEvents && cfg.Format != FormatJSON {
		return nil, fmt.Errorf("format %q: use %s or %s", cfg.Format, FormatCloudEvents, FormatJSON)
	}
	transport := &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConns: cfg.Concurrency, MaxIdleConnsPerHost: cfg.Concurrency, IdleConnTimeout: time.Minute,
		ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
	}
	return &Webhook{cfg: cfg, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close closes idle connections.
func (w *Webhook) Close() { w.client.CloseIdleConnections() }

// Deliver implements Target.
func (w *Webhook) Deliver(ctx context.Context, records []*kgo.Record) Result {
	var connected atomic.Bool
	req, err := w.request(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}), records)
	if err != nil {
		return Result{Verdict: Refused, Kind: "encoding", Reason: err.Error()}
	}
	resp, err := w.client.Do(req)
	switch {
	case err != nil && !connected.Load(): // no name, no route, no TLS: nothing was sent
		return Result{Verdict: Unavailable, Kind: "connect", Reason: err.Error()}
	case err != nil:
		return unanswered(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil && resp.StatusCode/100 == 2 {
		return unanswered(ctx, err)
	}
	if resp.StatusCode/100 == 2 {
		return answered(body, records)
	}
	result := Result{Verdict: verdictOf(resp.StatusCode), Kind: fmt.Sprintf("HTTP %d", resp.StatusCode)}
	result.Reason = fmt.Sprintf("%s answers %s: %.300q", w.cfg.URL, resp.Status, body)
	if result.Verdict == Unavailable {
		result.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	return result
}

// unanswered is of a request that the receiver may have taken.
func unanswered(ctx context.Context, err error) Result {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return Result{Verdict: Failed, Kind: "timeout", Reason: fmt.Sprintf("no answer in time: %v", err)}
	}
	return Result{Verdict: Failed, Kind: "connection", Reason: err.Error()}
}

// verdictOf says what a status other than 2xx means. Statuses that are about the receiver, its
// address or the sender's credentials, and redirects, are not held against a record.
func verdictOf(status int) Verdict {
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusGone, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return Unavailable
	}
	switch status / 100 {
	case 5:
		return Failed
	case 4:
		return Refused
	}
	return Unavailable
}

// maxRetryAfter bounds how long a receiver can have itself left alone.
const maxRetryAfter = 10 * time.Minute

// retryAfter reads the header Retry-After, in seconds or as a time; 0 if it is neither.
func retryAfter(text string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

func (w *Webhook) request(ctx context.Context, records []*kgo.Record) (*http.Request, error) {
	header := w.cfg.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	body, err := w.encode(header, records)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header = header
	return req, nil
}

// encode returns the body, and sets what of the event is in the header.
func (w *Webhook) encode(header http.Header, records []*kgo.Record) ([]byte, error) {
	if w.cfg.Format == FormatJSON {
		header.Set("Content-Type", "application/json")
		return encodeJSON(records), nil
	}
	if !w.cfg.Batch && len(records) == 1 {
		e := toEvent(records[0])
		setHeaders(header, e)
		return e.Data(), nil
	}
	header.Set("Content-Type", event.ApplicationCloudEventsBatchJSON)
	events := make([]event.Event, len(records))
	for i, r := range records {
		events[i] = toEvent(r)
	}
	body, err := json.Marshal(events)
	if err != nil {
		return nil, fmt.Errorf("encode %d events: %w", len(events), err)
	}
	return body, nil
}

func encodeJSON(records []*kgo.Record) []byte {
	b := []byte{'['}
	for i, r := range records {
		if i > 0 {
			b = append(b, ',')
		}
		b = format.AppendJSON(b, r)
	}
	return append(b, ']')
}
