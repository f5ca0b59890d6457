//go:build e2e && measure

package functions

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/functions/admin"
	"github.com/forebaylog/forebay/localstack/rig"
)

// What the functions may take.
const (
	mostZip    = 12 << 20
	mostMemory = 128 << 20
	mostInit   = 100 * time.Millisecond
	mostPage   = 100 * time.Millisecond
)

// TestFunctionsAreSmall measures each function: the zip, the time from the start of the process until it asks for work, and the
// memory that it has used at most once it has done something; of api also a page of 10,000 topics. docs/benchmarks.md has
// the results; sizes are checked, and of times, which depend on what else the machine does, the best of a few.
func TestFunctionsAreSmall(t *testing.T) {
	w := newWorld(t, 1)
	const topics = 10_000
	for from := 0; from < topics; from += 1000 {
		names := make([]string, 1000)
		for i := range names {
			names[i] = fmt.Sprintf("topic-%05d", from+i)
		}
		made, err := w.admin.CreateTopics(t.Context(), 1, 1, nil, names...)
		require.NoError(t, err)
		require.NoError(t, made.Error())
	}
	for _, name := range []string{"api", "retention", "compaction", "collector", "sweep"} {
		bootstrap, err := rig.BuildFunction(t.Context(), name, built)
		require.NoError(t, err)
		zipped, err := rig.ZipFunction(bootstrap)
		require.NoError(t, err)
		init, memory, page := time.Hour, int64(0), time.Hour
		for range 3 {
			f, err := rig.StartLambda(t.Context(), bootstrap, append(w.env, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128")...)
			require.NoError(t, err)
			took, err := f.Init(t.Context())
			require.NoError(t, err)
			init = min(init, took)
			if name == "api" {
				page = min(page, pageOf(t, f, topics))
			} else {
				var a answer
				require.NoError(t, f.Invoke(t.Context(), time.Minute, map[string]string{}, &a))
			}
			used, err := rig.ReadUsage(f.PID())
			require.NoError(t, err)
			memory = max(memory, used.PeakRSS)
			require.NoError(t, f.Close())
		}
		t.Logf("%-10s zip %.1f MB, init %v, memory %.0f MiB", name, float64(len(zipped))/1e6, init.Round(time.Millisecond), float64(memory)/(1<<20))
		require.Less(t, len(zipped), mostZip, name)
		require.Less(t, memory, int64(mostMemory), name)
		require.Less(t, init, 20*mostInit, "%s: several times the goal even here", name)
		if name == "api" {
			t.Logf("%-10s page of %d topics %v", name, topics, page.Round(time.Millisecond))
			require.Less(t, page, 20*mostPage, "several times the goal even here")
		}
	}
}

// pageOf asks a function for a page of all topics several times, and returns the shortest time.
func pageOf(t *testing.T, f *rig.Lambda, topics int) time.Duration {
	t.Helper()
	event := map[string]any{
		"version": "2.0", "rawPath": "/v1/topics", "rawQueryString": fmt.Sprintf("page_size=%d", topics),
		"requestContext": map[string]any{
			"http":       map[string]string{"method": "GET", "path": "/v1/topics"},
			"authorizer": map[string]any{"iam": map[string]string{"userArn": ada.ARN}},
		},
	}
	best := time.Hour
	for range 4 {
		var out struct {
			StatusCode int    `json:"statusCode"`
			Body       string `json:"body"`
		}
		began := time.Now()
		require.NoError(t, f.Invoke(t.Context(), time.Minute, event, &out))
		best = min(best, time.Since(began))
		require.Equal(t, 200, out.StatusCode, out.Body)
		var page admin.Topics
		require.NoError(t, json.Unmarshal([]byte(out.Body), &page))
		require.Len(t, page.Topics, topics)
	}
	return best
}
