package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/lambda"
)

// receiver is a webhook's other end, which answers as it is told.
func receiver(t *testing.T, cfg WebhookConfig, answer http.HandlerFunc) *Webhook {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	cfg.URL, cfg.Concurrency = server.URL, 2
	if cfg.Format == "" {
		cfg.Format = FormatCloudEvents
	}
	w, err := NewWebhook(cfg)
	require.NoError(t, err)
	t.Cleanup(w.Close)
	return w
}

// orderPlaced is an event as the other end of this program writes it.
func orderPlaced() *kgo.Record {
	r := &kgo.Record{Topic: "orders", Partition: 3, Offset: 42, Key: []byte("k"), Value: []byte(`{"n":1}`), Timestamp: epoch}
	for _, h := range [][2]string{
		{"ce_specversion", "1.0"},
		{"ce_id", "a"},
		{"ce_source", "/shop"},
		{"ce_type", "order.placed"},
		{"ce_subject", "ü 100%"},
		{"ce_time", "2026-01-31T12:00:00.5Z"},
		{"ce_partitionkey", "k"},
		{"content-type", "application/json"},
	} {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return r
}

func TestWebhookSendsEvents(t *testing.T) {
	var got []event.Event
	read := func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "Bearer x", r.Header.Get("Authorization"))
		var err error
		if cehttp.IsHTTPBatch(r.Header) {
			got, err = cehttp.NewEventsFromHTTPRequest(r)
		} else {
			var e *event.Event
			if e, err = cehttp.NewEventFromHTTPRequest(r); err == nil {
				got = []event.Event{*e}
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
		}
	}
	header := http.Header{"Authorization": {"Bearer x"}}
	at := func(e event.Event) []any {
		x := e.Extensions()
		return []any{x["kafkatopic"], x["kafkapartition"], x["kafkaoffset"]}
	}

	one := receiver(t, WebhookConfig{Header: header}, read)
	require.Equal(t, Delivered, one.Deliver(t.Context(), []*kgo.Record{orderPlaced()}).Verdict)
	require.NoError(t, got[0].Validate())
	require.Equal(t, []any{"a", "/shop", "order.placed", `{"n":1}`}, []any{got[0].ID(), got[0].Source(), got[0].Type(), string(got[0].Data())})
	require.Equal(t, "%C3%BC%20100%25", got[0].Subject(), "as the HTTP binding wants it; the SDK does not decode it")
	require.Equal(t, []any{"orders", "3", "42"}, at(got[0]))
	require.Equal(t, "k", got[0].Extensions()["partitionkey"])

	batch := receiver(t, WebhookConfig{Header: header, Batch: true}, read)
	records := []*kgo.Record{
		orderPlaced(),
		{Topic: "orders", Offset: 1, Key: []byte("k"), Value: []byte(`{"x":[1]}`), Timestamp: epoch},
		{Topic: "orders", Offset: 2, Value: []byte("Grüße"), Timestamp: epoch},
		{Topic: "orders", Offset: 3, Key: []byte{0xff}, Value: []byte{0, 0xff}, Timestamp: epoch},
		{Topic: "orders", Offset: 4, Timestamp: epoch},
		{Topic: "orders", Offset: 5, Value: []byte("no JSON"), Headers: []kgo.RecordHeader{{Key: "Content-Type", Value: []byte("application/json")}}, Timestamp: epoch},
	}
	require.Equal(t, Delivered, batch.Deliver(t.Context(), records).Verdict)
	require.Len(t, got, len(records))
	require.Equal(t, "ü 100%", got[0].Subject())
	require.Equal(t, epoch.Add(500*time.Millisecond), got[0].Time())
	for i, want := range []struct{ media, data string }{
		{"application/json", `{"n":1}`},
		{"application/json", `{"x":[1]}`},
		{"text/plain; charset=utf-8", "Grüße"},
		{"application/octet-stream", "\x00\xff"},
		{"", ""},
		{"application/json", "no JSON"},
	} {
		require.NoError(t, got[i].Validate())
		require.Equal(t, want.media, got[i].DataContentType(), i)
		require.Equal(t, want.data, string(got[i].Data()), i)
		if i > 0 {
			require.Equal(t, []any{recordType, "/topics/orders", fmt.Sprintf("0-%d", i), epoch}, []any{got[i].Type(), got[i].Source(), got[i].ID(), got[i].Time()})
		}
	}
	require.Equal(t, "k", got[1].Extensions()["partitionkey"])
	require.NotContains(t, got[3].Extensions(), "partitionkey", "the key is no text")
}

func TestWebhookSendsJSON(t *testing.T) {
	var body, media string
	w := receiver(t, WebhookConfig{Format: FormatJSON, Batch: true}, func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		body, media = string(text), r.Header.Get("Content-Type")
	})
	require.Equal(t, Delivered, w.Deliver(t.Context(), []*kgo.Record{keyed(0, 1, "a"), keyed(0, 2, "")}).Verdict)
	require.Equal(t, "application/json", media)
	var got []struct {
		Offset       int
		Key, Payload *string
	}
	require.NoError(t, json.Unmarshal([]byte(body), &got), body)
	require.Equal(t, 2, got[1].Offset)
	require.Equal(t, "a", *got[0].Key)
	require.Nil(t, got[1].Key)
}

func TestWebhookVerdicts(t *testing.T) {
	records := []*kgo.Record{keyed(0, 1, "a"), keyed(0, 2, "a"), keyed(1, 2, "a")}
	item := func(tp string, offset int) string {
		return fmt.Sprintf(`{"itemIdentifier":{"topic-partition":%q,"offset":%d}}`, tp, offset)
	}
	tests := []struct {
		status     int
		body       string
		retryAfter string
		want       Verdict
		items      []int
		pause      time.Duration
	}{
		{200, "", "", Delivered, nil, 0},
		{204, "", "", Delivered, nil, 0},
		{202, "accepted", "", Delivered, nil, 0},
		{200, `{"ok":true}`, "", Delivered, nil, 0},
		{200, `{"batchItemFailures":null}`, "", Delivered, nil, 0},
		{200, `{"batchItemFailures":[]}`, "", Delivered, nil, 0},
		{200, ` {"batchItemFailures":[` + item("orders-0", 2) + "," + item("orders-1", 2) + `]}`, "", Delivered, []int{1, 2}, 0},
		{200, `{"batchItemFailures":[` + item("orders-0", 7) + `]}`, "", Failed, nil, 0},
		{200, `{"batchItemFailures":[{"itemIdentifier":{}}]}`, "", Failed, nil, 0},
		{200, `{"batchItemFailures":[{"itemIdentifier":"x"}]}`, "", Failed, nil, 0},
		{200, `{"batchItemFailures":[` + item("orders-0", 2) + "," + strings.Repeat(" ", maxAnswer) + item("orders-1", 2) + `]}`, "", Failed, nil, 0},
		{200, `{"batchItemFailures":[` + item("orders-0", 2), "", Failed, nil, 0},
		{200, `{oops`, "", Delivered, nil, 0},
		{301, "", "", Unavailable, nil, 0},
		{400, "no", "", Refused, nil, 0},
		{401, "", "", Unavailable, nil, 0},
		{404, "", "", Unavailable, nil, 0},
		{413, "", "", Refused, nil, 0},
		{422, "", "9", Refused, nil, 0},
		{429, "", "7", Unavailable, nil, 7 * time.Second},
		{500, "", "", Failed, nil, 0},
		{503, "", "99999", Unavailable, nil, maxRetryAfter},
		{503, "", "soon", Unavailable, nil, 0},
	}
	for _, tt := range tests {
		w := receiver(t, WebhookConfig{Batch: true}, func(w http.ResponseWriter, _ *http.Request) {
			if tt.retryAfter != "" {
				w.Header().Set("Retry-After", tt.retryAfter)
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		})
		got := w.Deliver(t.Context(), records)
		require.Equal(t, tt.want, got.Verdict, "%d %.100s: %s", tt.status, tt.body, got.Reason)
		require.Equal(t, tt.items, got.Items)
		require.Equal(t, tt.pause, got.RetryAfter)
	}
	require.Equal(t, 90*time.Second, retryAfter(epoch.Add(90*time.Second).Format(http.TimeFormat), epoch))
}

func TestWebhookWithoutAnswer(t *testing.T) {
	records := []*kgo.Record{keyed(0, 1, "a")}
	hangs := receiver(t, WebhookConfig{}, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client has gone
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // within which a busy machine connects
	defer cancel()
	got := hangs.Deliver(ctx, records)
	require.Equal(t, []any{Failed, "timeout"}, []any{got.Verdict, got.Kind})

	breaks := receiver(t, WebhookConfig{}, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	require.Equal(t, Failed, breaks.Deliver(t.Context(), records).Verdict)

	gone := httptest.NewServer(nil)
	gone.Close()
	w, err := NewWebhook(WebhookConfig{URL: gone.URL, Format: FormatJSON})
	require.NoError(t, err)
	require.Equal(t, Unavailable, w.Deliver(t.Context(), records).Verdict)

	secret := httptest.NewUnstartedServer(nil)
	secret.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secret.StartTLS()
	t.Cleanup(secret.Close)
	for url, why := range map[string]string{secret.URL: "its certificate is nobody's", strings.Replace(hangs.cfg.URL, "http:", "https:", 1): "it speaks no TLS"} {
		w, err := NewWebhook(WebhookConfig{URL: url, Format: FormatJSON})
		require.NoError(t, err)
		got := w.Deliver(t.Context(), records)
		require.Equal(t, []any{Unavailable, "connect"}, []any{got.Verdict, got.Kind}, "no record is to blame: %s: %s", why, got.Reason)
	}
	for _, url := range []string{"", "orders", "ftp://x/", "lambda:f"} {
		_, err := NewWebhook(WebhookConfig{URL: url, Format: FormatJSON})
		require.ErrorContains(t, err, "no http:// or https:// URL")
	}
}

// TestWebhookOfAnyMediaType: none keeps a record from being sent, nor adds a header.
func TestWebhookOfAnyMediaType(t *testing.T) {
	var media string
	w := receiver(t, WebhookConfig{}, func(_ http.ResponseWriter, r *http.Request) { media = r.Header.Get("Content-Type") })
	for _, event := range []bool{true, false} {
		for _, sent := range []string{"text/plain; a=b\r\n", "text/plain; a=b\r\nX-Admin: yes", "text/plain\x00"} {
			r := orderPlaced()
			if !event {
				r.Headers = nil
			}
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "Content-Type", Value: []byte(sent)})
			got := w.Deliver(t.Context(), []*kgo.Record{r})
			require.Equal(t, Delivered, got.Verdict, "%q: %s", sent, got.Reason)
			require.Equal(t, "application/json", media, "%q: it is JSON by its looks", sent)
		}
	}
}

// invoker is a function.
type invoker func(payload []byte) (lambda.Answer, error)

func (f invoker) Invoke(_ context.Context, payload []byte) (lambda.Answer, error) { return f(payload) }

func TestFunctionGetsTheEventOfKafka(t *testing.T) {
	var got string
	f := NewFunction(invoker(func(payload []byte) (lambda.Answer, error) {
		got = string(payload)
		return lambda.Answer{Payload: []byte(`{"batchItemFailures":[{"itemIdentifier":{"topic-partition":"orders-0","offset":2}}]}`)}, nil
	}), []string{"b1:9092", "b2:9092"})
	one, two, other := keyed(0, 1, "a"), keyed(0, 2, ""), keyed(1, 1, "b")
	one.Timestamp, two.Timestamp, other.Timestamp = epoch, epoch, epoch
	one.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte{'x', 0xff}}}
	result := f.Deliver(t.Context(), []*kgo.Record{one, other, two})
	require.Equal(t, []any{Delivered, []int{2}}, []any{result.Verdict, result.Items})
	require.JSONEq(t, `{"eventSource":"SelfManagedKafka","bootstrapServers":"b1:9092,b2:9092","records":{
		"orders-0":[
			{"topic":"orders","partition":0,"offset":1,"timestamp":1769860800000,"timestampType":"CREATE_TIME","key":"YQ==","value":"MDEyMzQ1Njc4OQ==","headers":[{"h":[120,-1]}]},
			{"topic":"orders","partition":0,"offset":2,"timestamp":1769860800000,"timestampType":"CREATE_TIME","value":"MDEyMzQ1Njc4OQ==","headers":[]}],
		"orders-1":[{"topic":"orders","partition":1,"offset":1,"timestamp":1769860800000,"timestampType":"CREATE_TIME","key":"Yg==","value":"MDEyMzQ1Njc4OQ==","headers":[]}]}}`, got)
}

func TestFunctionVerdicts(t *testing.T) {
	tests := []struct {
		answer lambda.Answer
		err    error
		want   Verdict
		pause  time.Duration
	}{
		{lambda.Answer{Payload: []byte("null")}, nil, Delivered, 0},
		{lambda.Answer{Payload: []byte(`"ok"`)}, nil, Delivered, 0},
		{lambda.Answer{Payload: []byte(`{"errorMessage":"boom"}`), Failed: "Unhandled"}, nil, Failed, 0},
		{lambda.Answer{}, &lambda.ThrottledError{RetryAfter: 7 * time.Second}, Unavailable, 7 * time.Second},
		{lambda.Answer{}, fmt.Errorf("invoke: %w", lambda.ErrTooLarge), Refused, 0},
		{lambda.Answer{}, fmt.Errorf("invoke: %w", lambda.ErrSetup), Unavailable, 0},
		{lambda.Answer{}, context.DeadlineExceeded, Failed, 0},
		{lambda.Answer{}, errors.New("no route"), Unavailable, 0},
	}
	for _, tt := range tests {
		f := NewFunction(invoker(func([]byte) (lambda.Answer, error) { return tt.answer, tt.err }), nil)
		got := f.Deliver(t.Context(), []*kgo.Record{keyed(0, 1, "a")})
		require.Equal(t, tt.want, got.Verdict, "%v", tt.err)
		require.Equal(t, tt.pause, got.RetryAfter)
	}
}

// Whatever a receiver answers, the items are records of the batch, in the order of the answer.
func FuzzPartial(f *testing.F) {
	f.Add([]byte(`{"batchItemFailures":[{"itemIdentifier":{"topic-partition":"orders-0","offset":2}}]}`))
	f.Add([]byte(`{"batchItemFailures":[{"itemIdentifier":{"offset":null}}]}`))
	f.Add([]byte(` null`))
	records := []*kgo.Record{keyed(0, 1, "a"), keyed(0, 2, "a"), keyed(1, 2, "a")}
	f.Fuzz(func(t *testing.T, answer []byte) {
		items, err := partial(answer, records)
		if err != nil {
			require.Empty(t, items)
		}
		for _, i := range items {
			require.Less(t, i, len(records))
			require.Contains(t, string(answer), "batchItemFailures")
		}
	})
}

// Whatever is in a record, it becomes an event that is valid and can be encoded, with its value as data.
func FuzzToEvent(f *testing.F) {
	f.Add("ce_id", []byte("a"), "content-type", []byte("application/json"), []byte(`{"n":1}`))
	f.Add("ce_time", []byte("yesterday"), "ce_source", []byte("%zz"), []byte{0xff})
	f.Add("ce_time", []byte(""), "ce_dataschema", []byte(""), []byte("x"))
	f.Add("ce_data", []byte("x"), "ce_partitionkey", []byte("\xff\x00"), []byte(nil))
	f.Fuzz(func(t *testing.T, name string, text []byte, other string, more []byte, data []byte) {
		r := orderPlaced()
		r.Value = data
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: text}, kgo.RecordHeader{Key: other, Value: more})
		e := toEvent(r)
		require.NoError(t, e.Validate())
		body, err := json.Marshal([]event.Event{e})
		require.NoError(t, err)
		var back []event.Event
		require.NoError(t, json.Unmarshal(body, &back), string(body))
		if len(data) > 0 && e.DataBase64 {
			require.Equal(t, data, back[0].Data())
		}
		h := http.Header{}
		setHeaders(h, e)
		for name, values := range h {
			require.True(t, printable(values[0]), name)
		}
	})
}
