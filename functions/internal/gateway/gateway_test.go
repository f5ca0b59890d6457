package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
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
	for _, text := range []string{
		`{"rawPath": "/", "body": "%", "isBase64Encoded": true}`, `{"rawPath": "/", "requestContext": {"http": {"method": "NO WAY"}}}`, `{}`,
		`{"rawPath": "/v1/groups/100%"}`, `{"rawPath": "/v1/groups/what?dry_run=false"}`, `{"rawPath": "/v1/groups/what?"}`, `{"rawPath": "/v1/groups/%ff"}`, `{"rawPath": "http://x/v1"}`,
	} {
		out := serve(t, text, func(http.ResponseWriter, *http.Request) { require.Fail(t, "served", text) })
		require.Equal(t, http.StatusBadRequest, out.StatusCode, text)
		require.Equal(t, "application/problem+json", out.Headers["content-type"])
		var p admin.Problem
		require.NoError(t, json.Unmarshal([]byte(out.Body), &p))
		require.Equal(t, http.StatusBadRequest, p.Status)
		require.NotEmpty(t, p.Detail)
	}
	serve(t, `{"rawPath": "/v1/groups", "requestContext": {"http": {"method": "GET"}}}`, func(_ http.ResponseWriter, r *http.Request) {
		_, err := Access{}.Who(r)
		require.ErrorAs(t, err, new(*admin.Refusal), "AWS has checked nobody")
	})
}

// TestHTTPAPI: the event of an HTTP API with IAM authorization, whose path it has decoded once.
func TestHTTPAPI(t *testing.T) {
	const event = `{
		"version": "2.0", "routeKey": "$default", "rawPath": "/v1/groups/%s", "rawQueryString": "topic=a%%2Fb&expel=true",
		"headers": {"accept": "*/*", "authorization": "AWS4-HMAC-SHA256 ...", "content-length": "0", "host": "a1b2.execute-api.eu-west-1.amazonaws.com", "x-forwarded-for": "192.0.2.7", "x-forwarded-port": "443"},
		"queryStringParameters": {"topic": "a/b", "expel": "true"},
		"requestContext": {
			"accountId": "1", "apiId": "a1b2", "domainName": "a1b2.execute-api.eu-west-1.amazonaws.com", "domainPrefix": "a1b2",
			"authorizer": {"iam": {"accessKey": "AK", "accountId": "1", "callerId": "AROA:ada", "cognitoIdentity": null, "principalOrgId": "o-1", "userArn": "arn:aws:sts::1:assumed-role/ops/ada", "userId": "AROA:ada"}},
			"http": {"method": "DELETE", "path": "/v1/groups/%s", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7", "userAgent": "curl/8"},
			"requestId": "JKJaXmPLvHcESHA=", "routeKey": "$default", "stage": "$default", "time": "10/Mar/2026:05:16:23 +0000", "timeEpoch": 1773119783000
		},
		"isBase64Encoded": false
	}`
	for sent, group := range map[string]string{"billing": "billing", "a b": "a b", "ü": "ü", "a%2Fb": "a/b", "what%3F": "what?", "100%25": "100%", "a#b": "a#b", "a+b": "a+b"} {
		mux := http.NewServeMux()
		mux.HandleFunc("DELETE /v1/groups/{group}", func(w http.ResponseWriter, r *http.Request) {
			require.Equal(t, group, r.PathValue("group"))
			require.Equal(t, []string{"a/b"}, r.URL.Query()["topic"])
			require.Equal(t, "a1b2.execute-api.eu-west-1.amazonaws.com", r.Host)
			c, err := ParseAccess("", "arn:aws:sts::1:assumed-role/ops/*").Who(r)
			require.NoError(t, err)
			require.Equal(t, admin.Caller{Principal: "arn:aws:sts::1:assumed-role/ops/ada", Address: "192.0.2.7", Writes: true}, c)
			w.WriteHeader(http.StatusNoContent)
		})
		out := serve(t, fmt.Sprintf(event, sent, sent), mux.ServeHTTP)
		require.Equal(t, http.StatusNoContent, out.StatusCode, sent)
	}
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
