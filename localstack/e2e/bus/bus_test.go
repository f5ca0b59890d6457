//go:build e2e

package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
	"github.com/forebaylog/forebay/localstack/sinkproof"
)

var binary string // the built forebay

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "forebay-bus-")
	if err == nil {
		binary, err = rig.BuildForebay(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e cannot start:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// bus is one node that takes events over HTTP.
type bus struct {
	*rig.Node
	t     *testing.T
	url   string
	admin *kadm.Client
}

func newBus(t *testing.T, topics ...string) *bus {
	t.Helper()
	addr, err := rig.FreeAddr()
	require.NoError(t, err)
	node, err := rig.StartForebay(t.Context(), rig.ForebayConfig{Binary: binary, Dir: filepath.Join(t.TempDir(), "data"), HTTP: addr})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, node.Kill())
		if t.Failed() {
			t.Logf("output of the broker:\n%s", node.Output())
		}
	})
	client, err := kgo.NewClient(kgo.SeedBrokers(node.Addr))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	b := &bus{Node: node, t: t, url: "http://" + addr, admin: kadm.NewClient(client)}
	made, err := b.admin.CreateTopics(t.Context(), 3, 1, nil, topics...)
	require.NoError(t, err)
	require.NoError(t, made.Error())
	return b
}

// step is how long one step of a scenario may take; it tells what hangs from what waits for the processor.
const step = 2 * time.Minute

// run runs a command that must end well, and returns its standard output.
func (b *bus) run(stdin, name string, args ...string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), step)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		b.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, exit.Stderr)
	}
	require.NoError(b.t, err)
	return string(out)
}

// curl posts to a topic, and returns the status and the answer.
func (b *bus) curl(topic, body string, headers ...string) (status int, answer map[string]any) {
	b.t.Helper()
	args := []string{"-sS", "-X", "POST", b.url + "/topics/" + topic + "/events", "--data-binary", "@-", "-w", "\n%{http_code}"}
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	text, code, _ := strings.Cut(strings.TrimSpace(b.run(body, "curl", args...)), "\n")
	status, err := strconv.Atoi(strings.TrimSpace(code))
	require.NoError(b.t, err)
	require.NoError(b.t, json.Unmarshal([]byte(text), &answer), text)
	return status, answer
}

func TestCurlInKcatOut(t *testing.T) {
	b := newBus(t, "orders")
	binaryMode := []string{"ce-specversion: 1.0", "ce-id: 1", "ce-source: /shop", "ce-type: order.placed", "ce-partitionkey: anna", "Content-Type: application/json"}
	status, answer := b.curl("orders", `{"total":7}`, binaryMode...)
	require.Equal(t, http.StatusOK, status, answer)
	status, _ = b.curl("orders", `{"specversion":"1.0","id":"2","source":"/shop","type":"order.placed","partitionkey":"bert","data":{"total":8}}`,
		"Content-Type: application/cloudevents+json")
	require.Equal(t, http.StatusOK, status)
	status, answer = b.curl("orders", `[{"specversion":"1.0","id":"3","source":"/shop","type":"order.placed","data":9},{"specversion":"1.0","id":"4","source":"/shop","type":"order.placed","data":10}]`,
		"Content-Type: application/cloudevents-batch+json")
	require.Equal(t, http.StatusOK, status)
	require.Len(t, answer["events"], 2)

	out := b.run("", "kcat", "-b", b.Addr, "-t", "orders", "-C", "-e", "-q", "-f", "%k|%s|%h\n")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.ElementsMatch(t, []string{
		`anna|{"total":7}|ce_id=1,ce_partitionkey=anna,ce_source=/shop,ce_specversion=1.0,ce_type=order.placed,content-type=application/json`,
		`bert|{"total":8}|ce_id=2,ce_partitionkey=bert,ce_source=/shop,ce_specversion=1.0,ce_type=order.placed`,
		`|9|ce_id=3,ce_source=/shop,ce_specversion=1.0,ce_type=order.placed`,
		`|10|ce_id=4,ce_source=/shop,ce_specversion=1.0,ce_type=order.placed`,
	}, lines)

	status, answer = b.curl("nope", "x", binaryMode...)
	require.Equal(t, []any{http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION"}, []any{status, answer["kafka_error"]})
	status, answer = b.curl("orders", "x", "ce-specversion: 1.0")
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, answer["detail"], "attribute id")
	status, answer = b.curl("orders", strings.Repeat("x", 2<<20), binaryMode...)
	require.Equal(t, []any{http.StatusRequestEntityTooLarge, "MESSAGE_TOO_LARGE"}, []any{status, answer["kafka_error"]})
	metrics, err := b.Metrics(t.Context())
	require.NoError(t, err)
	require.Contains(t, metrics, `forebay_events_accepted_total{mode="batch"} 2`)
}

// What was acknowledged over HTTP is there after kill -9.
func TestEventsSurviveAKill(t *testing.T) {
	b := newBus(t, "orders")
	for i := range 20 {
		status, answer := b.curl("orders", "x", "ce-specversion: 1.0", fmt.Sprintf("ce-id: %d", i), "ce-source: /shop", "ce-type: t")
		require.Equal(t, http.StatusOK, status, answer)
	}
	require.NoError(t, b.Kill())
	again, err := rig.StartForebay(t.Context(), rig.ForebayConfig{Binary: binary, Dir: b.Dir, Addr: b.Addr})
	require.NoError(t, err)
	t.Cleanup(func() { _ = again.Kill() })
	out := b.run("", "kcat", "-b", b.Addr, "-t", "orders", "-C", "-e", "-q", "-f", "%s\n")
	require.Equal(t, strings.Repeat("x\n", 20), out)
}

func prove(t *testing.T, cfg sinkproof.Config) sinkproof.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*step)
	defer cancel()
	cfg.Binary, cfg.Dir, cfg.Say = binary, t.TempDir(), t.Logf
	r, err := sinkproof.Run(ctx, cfg)
	require.NoError(t, err)
	t.Logf("%+v", r)
	return r
}

// What came in over HTTP goes out. The receiver fails 5% of the requests, and refuses one record of 500 for good: the others all come, each
// key in its order, and those are dead letters.
func TestSinkDelivers(t *testing.T) {
	r := prove(t, sinkproof.Config{Records: 20_000, HTTP: 4, FailRate: 0.05, PoisonEvery: 500, Seed: 1})
	require.Equal(t, []int{19_960, 40}, []int{r.Delivered, r.DeadLetters})
	require.Positive(t, r.FailedRequests)
}

// The same while members of the group are killed.
func TestSinkIsKilled(t *testing.T) {
	prove(t, sinkproof.Config{Records: 20_000, Keys: 100, FailRate: 0.05, PoisonEvery: 500, Seed: 2, Kills: 2, Args: []string{"--session-timeout", "6s"}})
}

// sink starts a sink of the topic orders.
func (b *bus) sink(args ...string) *rig.Process {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), binary, append([]string{"sink", "-b", b.Addr, "--topic", "orders"}, args...)...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_REGION=us-east-1")
	p, err := rig.StartProcess("sink", cmd)
	require.NoError(b.t, err)
	b.t.Cleanup(func() {
		require.NoError(b.t, p.Kill())
		if b.t.Failed() {
			b.t.Logf("output of the sink:\n%s", p.Output())
		}
	})
	return p
}

// A function that names what has failed gets that again, and nothing else.
func TestSinkToAFunction(t *testing.T) {
	b := newBus(t, "orders")
	var mu sync.Mutex
	times := map[string]int{}
	lambda := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e struct {
			EventSource string `json:"eventSource"`
			Records     map[string][]struct {
				Offset int64
				Value  []byte
			}
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &e) != nil || e.EventSource != "SelfManagedKafka" || r.URL.Path != "/2015-03-31/functions/bill/invocations" {
			http.Error(w, "unexpected "+string(body), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		failures := []any{}
		for tp, records := range e.Records {
			for _, r := range records {
				times[string(r.Value)]++
				if string(r.Value) == "13" && times["13"] < 3 {
					failures = append(failures, map[string]any{"itemIdentifier": map[string]any{"topic-partition": tp, "offset": r.Offset}})
				}
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"batchItemFailures": failures})
	}))
	defer lambda.Close()
	b.run("10\n11\n12\n13\n14\n", "kcat", "-b", b.Addr, "-t", "orders", "-P")
	sink := b.sink("--group", "bill", "--to", "lambda:bill", "--lambda-endpoint", lambda.URL, "--backoff", "10ms")
	require.Eventually(t, func() bool { return b.committed("bill") == 5 }, step, 50*time.Millisecond)
	_, err := sink.Stop(time.Minute)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"10": 1, "11": 1, "12": 1, "13": 3, "14": 1}, times)
}

// committed sums a group's offsets.
func (b *bus) committed(group string) (sum int64) {
	offsets, err := b.admin.FetchOffsets(b.t.Context(), group)
	if err != nil {
		return -1
	}
	offsets.Each(func(o kadm.OffsetResponse) { sum += max(o.At, 0) })
	return sum
}
