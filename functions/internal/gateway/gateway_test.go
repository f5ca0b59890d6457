package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/functions/admin"
)

// event is one as Lambda sends it for a function URL.
const event = `{
	"version": "2.0", "routeKey": "$default", "rawPath": "/v1/groups/team%2Fa/offsets", "rawQueryString": "dry_run=true&topic=a&topic=b",
	"cookies": ["a=1", "b=2"],
	"headers": {"content-type": "application/json", "idempotency-key": "k", "user-agent": "curl/8"},
	"requestContext": {
		"accountId": "1", "apiId": "u", "domainName": "u.lambda-url.eu-west-1.on.aws", "domainPrefix": "u", "requestId": "r",
		"authorizer": {"iam": {"accessKey": "AK", "accountId": "1", "callerId": "c", "userArn": "arn:aws:sts::1:assumed-role/ops/ada", "userId": "c"}},
		"http": {"method": "POST", "path": "/v1/groups/team/a/offsets", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7", "userAgent": "curl/8"}
	},
	"body": "aGVsbG8=", "isBase64Encoded": true
}`

func serve(t *testing.T, text string, h http.HandlerFunc) Response {
	t.Helper()
	var in Request
	require.NoError(t, json.Unmarshal([]byte(text), &in))
	out, err := Serve(h)(context.Background(), in)
	require.NoError(t, err)
	return out
}

func TestRequest(t *testing.T) {
	out := serve(t, event, func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "POST", r.Method)
		require.Equal(t, "/v1/groups/team%2Fa/offsets", r.URL.EscapedPath())
		require.Equal(t, []string{"a", "b"}, r.URL.Query()["topic"])
		require.Equal(t, "k", r.Header.Get("Idempotency-Key"))
		cookie, err := r.Cookie("b")
		require.NoError(t, err)
		require.Equal(t, "2", cookie.Value)
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, "hello", string(body))
		c, err := Access{}.Who(r)
		require.NoError(t, err)
		require.Equal(t, admin.Caller{Principal: "arn:aws:sts::1:assumed-role/ops/ada", Address: "192.0.2.7", Writes: true}, c)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte(`{"ü":1}`))
	})
	require.Equal(t, http.StatusTeapot, out.StatusCode)
	require.Equal(t, `{"ü":1}`, out.Body)
	require.Equal(t, "application/json", out.Headers["content-type"])
	require.False(t, out.IsBase64Encoded)
}

// TestTimeToEnd: a request ends before Lambda ends the process.
func TestTimeToEnd(t *testing.T) {
	for total, spare := range map[time.Duration]time.Duration{time.Minute: maxSpare, 3 * time.Second: time.Second} {
		ctx, cancel := context.WithTimeout(t.Context(), total)
		_, err := Serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			end, ok := r.Context().Deadline()
			require.True(t, ok)
			all, _ := ctx.Deadline()
			require.InDelta(t, spare, all.Sub(end), float64(spare)/2)
		}))(ctx, Request{})
		cancel()
		require.NoError(t, err)
	}
}

func TestResponseOfBytes(t *testing.T) {
	out := serve(t, event, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0xff, 0}) })
	require.True(t, out.IsBase64Encoded)
	require.Equal(t, base64.StdEncoding.EncodeToString([]byte{0xff, 0}), out.Body)
	require.Equal(t, http.StatusOK, out.StatusCode)
}

func TestBadEvents(t *testing.T) {
	for _, text := range []string{`{"body": "%", "isBase64Encoded": true}`, `{"requestContext": {"http": {"method": "NO WAY"}}}`} {
		out := serve(t, text, func(http.ResponseWriter, *http.Request) { require.Fail(t, "served") })
		require.Equal(t, http.StatusBadRequest, out.StatusCode)
	}
	serve(t, `{"rawPath": "/v1/groups/a b%", "requestContext": {"http": {"method": "GET"}}}`, func(_ http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/v1/groups/a b%", r.URL.Path)
		_, err := Access{}.Who(r)
		require.ErrorAs(t, err, new(*admin.Refusal), "AWS has checked nobody")
	})
}

func TestAccess(t *testing.T) {
	const ada = "arn:aws:sts::1:assumed-role/ops/ada"
	for _, tc := range []struct {
		readers, writers string
		read, write      bool
	}{
		{"", "", true, true},
		{ada, "", true, false},
		{"", ada, true, true},
		{"arn:aws:iam::1:user/eve", "arn:aws:iam::1:user/bob", false, false},
		{"", "arn:aws:sts::1:assumed-role/ops/*", true, true},
		{" arn:aws:sts::1:* , x", "arn:aws:iam::*", true, false},
		{"arn:aws:sts::?:assumed-role/ops/ad?", "[", true, false},
		{"*", "arn:aws:sts::2:*", true, false},
	} {
		serve(t, event, func(_ http.ResponseWriter, r *http.Request) {
			c, err := ParseAccess(tc.readers, tc.writers).Who(r)
			require.Equal(t, tc.read, err == nil, "%+v", tc)
			require.Equal(t, tc.write, c.Writes, "%+v", tc)
		})
	}
}
