//go:build e2e

package functions

import (
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// TestDeployed: zips of functions, created and invoked by the API of Lambda, do their work.
func TestDeployed(t *testing.T) {
	w := newWorld(t, 1)
	w.create("aging", 2, map[string]string{"retention.ms": "600000"})
	w.produce("aging", 2, 50, time.Now().Add(-time.Hour))
	w.produce("aging", 2, 50, time.Now())
	lambda, err := rig.StartMinistack(t.Context(), os.Getenv("FOREBAY_PYTHON"), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(lambda.Output())
		}
		_, err := lambda.Stop(10 * time.Second) // and with it the processes of its functions
		require.NoError(t, err)
	})
	arch := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	for _, name := range []string{"api", "retention", "sweep"} {
		bootstrap, err := rig.BuildFunction(t.Context(), name, built)
		require.NoError(t, err)
		zipped, err := rig.ZipFunction(bootstrap)
		require.NoError(t, err)
		require.NoError(t, lambda.Deploy(t.Context(), name, zipped, arch, w.env...))
		if name == "api" {
			continue
		}
		var a answer
		require.NoError(t, lambda.Invoke(t.Context(), name, map[string]string{}, &a), name)
		require.True(t, a.Complete, name)
	}
	w.starts("aging", 50)

	event := map[string]any{
		"version": "2.0", "rawPath": "/v1/topics/aging/partitions",
		"requestContext": map[string]any{
			"http":       map[string]string{"method": "GET", "path": "/v1/topics/aging/partitions"},
			"authorizer": map[string]any{"iam": map[string]string{"userArn": ada.ARN}},
		},
	}
	var out struct {
		StatusCode int    `json:"statusCode"`
		Body       string `json:"body"`
	}
	require.NoError(t, lambda.Invoke(t.Context(), "api", event, &out))
	require.Equal(t, http.StatusOK, out.StatusCode, out.Body)
	require.Equal(t, 2, strings.Count(out.Body, `"log_start":50`), out.Body)
	url, err := lambda.URLOf(t.Context(), "api")
	require.NoError(t, err)
	require.Contains(t, url, ".lambda-url.")
}
