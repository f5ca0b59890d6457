package lambda_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/infra/lambda"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a service that answers as it is told, to requests of the form that AWS wants.
func fake(t *testing.T, answer func(w http.ResponseWriter, body string)) *lambda.Function {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/2015-03-31/functions/orders/invocations" || r.Header.Get("X-Amz-Invocation-Type") != "RequestResponse" ||
			!strings.Contains(r.Header.Get("Authorization"), "/us-east-1/lambda/aws4_request") {
			http.Error(w, "unexpected "+r.URL.Path, http.StatusTeapot)
			return
		}
		answer(w, string(body))
	}))
	t.Cleanup(server.Close)
	f, err := lambda.Open(t.Context(), lambda.Config{Function: "orders", Endpoint: server.URL, Region: "us-east-1"})
	require.NoError(t, err)
	t.Cleanup(f.Close)
	return f
}

func TestInvoke(t *testing.T) {
	f := fake(t, func(w http.ResponseWriter, body string) { _, _ = io.WriteString(w, `{"got":`+body+`}`) })
	answer, err := f.Invoke(t.Context(), []byte(`7`))
	require.NoError(t, err)
	require.Equal(t, lambda.Answer{Payload: []byte(`{"got":7}`)}, answer)

	f = fake(t, func(w http.ResponseWriter, _ string) {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		_, _ = io.WriteString(w, `{"errorMessage":"boom"}`)
	})
	answer, err = f.Invoke(t.Context(), []byte(`7`))
	require.NoError(t, err)
	require.Equal(t, "Unhandled", answer.Failed)
}

func TestInvokeFails(t *testing.T) {
	tests := []struct {
		status int
		code   string
		want   error
	}{
		{http.StatusTooManyRequests, "TooManyRequestsException", lambda.ErrThrottled},
		{http.StatusTooManyRequests, "", lambda.ErrThrottled},
		{http.StatusRequestEntityTooLarge, "RequestTooLargeException", lambda.ErrTooLarge},
		{http.StatusRequestEntityTooLarge, "", lambda.ErrTooLarge},
		{http.StatusNotFound, "ResourceNotFoundException", lambda.ErrSetup},
		{http.StatusForbidden, "AccessDeniedException", lambda.ErrSetup},
		{http.StatusBadGateway, "EFSMountFailureException", lambda.ErrSetup},
		{http.StatusInternalServerError, "ServiceException", nil},
	}
	for _, tt := range tests {
		f := fake(t, func(w http.ResponseWriter, _ string) {
			w.Header().Set("X-Amzn-Errortype", tt.code)
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, `{"Message":"because"}`)
		})
		_, err := f.Invoke(t.Context(), []byte(`7`))
		require.ErrorContains(t, err, "invoke orders")
		for _, sentinel := range []error{lambda.ErrThrottled, lambda.ErrTooLarge, lambda.ErrSetup} {
			require.Equal(t, tt.want != nil && errors.Is(tt.want, sentinel), errors.Is(err, sentinel), "%d %s: %v", tt.status, tt.code, err)
		}
		var throttled *lambda.ThrottledError
		if tt.code == "TooManyRequestsException" {
			require.ErrorAs(t, err, &throttled)
			require.Equal(t, 7*time.Second, throttled.RetryAfter)
		}
	}
	f := fake(t, func(http.ResponseWriter, string) { t.Error("it was sent") })
	_, err := f.Invoke(t.Context(), make([]byte, lambda.MaxPayload+1))
	require.ErrorIs(t, err, lambda.ErrTooLarge)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.Invoke(ctx, []byte(`7`))
	require.ErrorIs(t, err, context.Canceled)
}

func TestOpenRefuses(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_REGION", "")
	for says, cfg := range map[string]lambda.Config{
		"name is missing": {},
		"is no http":      {Function: "f", Endpoint: "localhost"},
		"no AWS region":   {Function: "f"},
	} {
		_, err := lambda.Open(t.Context(), cfg)
		require.ErrorContains(t, err, says)
	}
	f, err := lambda.Open(t.Context(), lambda.Config{Function: "arn:aws:lambda:eu-north-1:1:function:f"})
	require.NoError(t, err)
	f.Close()
}
