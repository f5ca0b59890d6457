package faultproxy_test

import (
	"bytes"
	"context"
	"io"
	"math/bits"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/localstack/faultproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is an upstream that answers with the body it got and notes each request it has read whole.
type service struct {
	mu    sync.Mutex
	seen  []string // method, path and body
	hosts []string
	came  chan struct{} // one for each request; buffered
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut off
	}
	s.mu.Lock()
	s.seen = append(s.seen, r.Method+" "+r.URL.RequestURI()+" "+string(body))
	s.hosts = append(s.hosts, r.Host)
	s.mu.Unlock()
	w.Header().Set("Etag", "x")
	_, _ = w.Write(body)
	s.came <- struct{}{}
}

func (s *service) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.seen...)
}

// world is a service behind a proxy with one listener.
type world struct {
	*service
	proxy  *faultproxy.Proxy
	addr   string
	client *http.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{service: &service{came: make(chan struct{}, 1000)}}
	upstream := httptest.NewServer(w.service)
	w.proxy = faultproxy.New(strings.TrimPrefix(upstream.URL, "http://"), 1)
	transport := &http.Transport{DisableKeepAlives: true} // so that the client never tries again by itself
	w.client = &http.Client{Transport: transport}
	addr, err := w.proxy.Listen("broker-1")
	require.NoError(t, err)
	w.addr = addr
	t.Cleanup(func() {
		require.NoError(t, w.proxy.Close())
		transport.CloseIdleConnections()
		upstream.Close()
	})
	return w
}

// reply is what a client got.
type reply struct {
	status int
	body   string
	header http.Header
	err    error
}

func (w *world) do(ctx context.Context, method, path, body string, header ...string) reply {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+w.addr+path, strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, string(got), resp.Header, err}
}

func (w *world) put(t *testing.T, path, body string) reply {
	return w.do(t.Context(), http.MethodPut, path, body)
}

// start does a request in the background.
func (w *world) start(t *testing.T, path, body string) <-chan reply {
	c := make(chan reply, 1)
	go func() { c <- w.put(t, path, body) }()
	return c
}

func (w *world) add(t *testing.T, r faultproxy.Rule) func() {
	t.Helper()
	remove := w.proxy.Add(r)
	t.Cleanup(remove)
	return remove
}

func TestPassesWhatIsSigned(t *testing.T) {
	w := newWorld(t)
	got := w.put(t, "/bucket/a%2Fb%20c?x-id=PutObject&versions", "body")
	require.NoError(t, got.err)
	require.Equal(t, "body", got.body)
	require.Equal(t, "x", got.header.Get("Etag"))
	require.Equal(t, []string{"PUT /bucket/a%2Fb%20c?x-id=PutObject&versions body"}, w.requests())
	require.Equal(t, []string{w.addr}, w.hosts, "the Host header is the one that the client signed")
	require.Equal(t, map[string]int64{"passed": 1}, w.proxy.Counts())
}

func TestAnswersInPlaceOfTheService(t *testing.T) {
	for name, test := range map[string]struct {
		action faultproxy.Action
		target string
		status int
		want   string
	}{
		"store busy":   {faultproxy.Busy(), "", 503, "<Code>SlowDown</Code>"},
		"store fails":  {faultproxy.Fail(), "", 500, "<Code>InternalError</Code>"},
		"table busy":   {faultproxy.Busy(), "DynamoDB_20120810.PutItem", 400, "#ProvisionedThroughputExceededException"},
		"table failed": {faultproxy.Fail(), "DynamoDB_20120810.PutItem", 500, "#InternalServerError"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add(t, faultproxy.Rule{Name: "bad", Action: test.action, Times: 1})
			got := w.do(t.Context(), http.MethodPost, "/", "{}", "X-Amz-Target", test.target)
			require.NoError(t, got.err)
			require.Equal(t, test.status, got.status)
			require.Contains(t, got.body, test.want)
			require.Empty(t, w.requests())
			require.NoError(t, w.put(t, "/", "again").err)
			require.Equal(t, map[string]int64{"bad": 1, "passed": 1}, w.proxy.Counts())
		})
	}
}

func TestLosesAndCuts(t *testing.T) {
	for name, test := range map[string]struct {
		action  faultproxy.Action
		reaches bool // the service
	}{
		"request lost": {faultproxy.LoseRequest(), false},
		"request cut":  {faultproxy.CutRequest(), false},
		"reply lost":   {faultproxy.LoseReply(), true},
		"reply cut":    {faultproxy.CutReply(), true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			remove := w.add(t, faultproxy.Rule{Name: "fault", Action: test.action})
			got := w.put(t, "/x", strings.Repeat("y", 100_000))
			require.Error(t, got.err)
			remove()
			require.NoError(t, w.put(t, "/next", "").err)
			if test.reaches {
				require.Len(t, w.requests(), 2)
			} else {
				require.Equal(t, []string{"PUT /next "}, w.requests())
			}
		})
	}
}

func TestAHeldRequestLandsWithoutItsClient(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.add(t, faultproxy.Rule{Name: "held", Match: faultproxy.Match{Path: "/wal/"}, Times: 1, Action: faultproxy.Hold(release)})
	ctx, giveUp := context.WithCancel(t.Context())
	gone := make(chan reply)
	go func() { gone <- w.do(ctx, http.MethodPut, "/bucket/wal/1", "late") }()
	require.Eventually(t, func() bool { return w.proxy.Counts()["held"] == 1 }, 10*time.Second, time.Millisecond)
	giveUp()
	require.ErrorIs(t, (<-gone).err, context.Canceled)
	require.NoError(t, w.put(t, "/bucket/wal/2", "early").err)
	<-w.came
	close(release)
	<-w.came
	require.Equal(t, []string{"PUT /bucket/wal/2 early", "PUT /bucket/wal/1 late"}, w.requests())
}

func TestReorders(t *testing.T) {
	w := newWorld(t)
	w.add(t, faultproxy.Rule{Name: "reordered", Match: faultproxy.Match{Path: "/n"}, Times: 1, Action: faultproxy.Reorder(time.Minute)})
	first := w.start(t, "/n1", "")
	require.Eventually(t, func() bool { return w.proxy.Counts()["reordered"] == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, w.put(t, "/other", "").err)
	require.NoError(t, w.put(t, "/n2", "").err)
	require.NoError(t, (<-first).err)
	require.Equal(t, []string{"PUT /other ", "PUT /n2 ", "PUT /n1 "}, w.requests())
}

func TestDelays(t *testing.T) {
	for name, action := range map[string]faultproxy.Action{
		"request": faultproxy.Delay(50*time.Millisecond, 60*time.Millisecond),
		"reply":   faultproxy.LateReply(50*time.Millisecond, 60*time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add(t, faultproxy.Rule{Name: "slow", Action: action})
			began := time.Now()
			got := w.put(t, "/", "late")
			require.NoError(t, got.err)
			require.Equal(t, "late", got.body)
			require.GreaterOrEqual(t, time.Since(began), 50*time.Millisecond)
		})
	}
}

func TestFlipsOneBit(t *testing.T) {
	w := newWorld(t)
	w.add(t, faultproxy.Rule{Name: "rot", Action: faultproxy.FlipBit()})
	body := bytes.Repeat([]byte{0x55}, 1000)
	got := w.put(t, "/", string(body))
	require.NoError(t, got.err)
	flipped := 0
	for i := range body {
		flipped += bits.OnesCount8(got.body[i] ^ body[i])
	}
	require.Equal(t, 1, flipped)
}

func TestCutsOffOneClient(t *testing.T) {
	w := newWorld(t)
	remove := w.add(t, faultproxy.Rule{Name: "silent", Match: faultproxy.Match{Client: "broker-1"}, Action: faultproxy.Silence()})
	silent := w.start(t, "/", "")
	require.Eventually(t, func() bool { return w.proxy.Counts()["silent"] == 1 }, 10*time.Second, time.Millisecond)
	other, err := w.proxy.Listen("broker-2")
	require.NoError(t, err)
	own := w.addr
	w.addr = other
	require.NoError(t, w.put(t, "/other", "").err)
	remove() // lets go with a reset
	require.Error(t, (<-silent).err)
	w.addr = own
	require.NoError(t, w.put(t, "/own", "").err)
	require.Equal(t, []string{"PUT /other ", "PUT /own "}, w.requests())
}

func TestMatches(t *testing.T) {
	w := newWorld(t)
	w.add(t, faultproxy.Rule{
		Name: "slot", Action: faultproxy.Busy(),
		Match: faultproxy.Match{Client: "broker-1", Method: "POST", Operation: "PutItem", Path: "/", Body: "wal/", NotBody: "sessions/"},
	})
	for _, test := range []struct {
		method, target, body string
		status               int
	}{
		{"POST", "DynamoDB_20120810.PutItem", `{"k":"wal/abc"}`, 400},
		{"PUT", "DynamoDB_20120810.PutItem", `{"k":"wal/abc"}`, 200},
		{"POST", "DynamoDB_20120810.GetItem", `{"k":"wal/abc"}`, 200},
		{"POST", "DynamoDB_20120810.PutItem", `{"k":"sessions/1 wal/"}`, 200},
		{"POST", "DynamoDB_20120810.PutItem", `{"k":"topics"}`, 200},
	} {
		got := w.do(t.Context(), test.method, "/", test.body, "X-Amz-Target", test.target)
		require.NoError(t, got.err)
		require.Equal(t, test.status, got.status, "%+v", test)
	}
}

// The dice fall the same way for the same seed, and about as often as the chance says.
func TestSeededChance(t *testing.T) {
	var rounds []string
	for range 2 {
		w := newWorld(t)
		w.add(t, faultproxy.Rule{Name: "bad", Chance: 0.2, Action: faultproxy.Fail()})
		var fell strings.Builder
		for range 200 {
			got := w.put(t, "/", "")
			require.NoError(t, got.err)
			fell.WriteByte("_X"[min(1, got.status/500)])
		}
		rounds = append(rounds, fell.String())
		require.InDelta(t, 40, w.proxy.Counts()["bad"], 25)
	}
	require.Equal(t, rounds[0], rounds[1])
}

func TestCloseLetsGo(t *testing.T) {
	w := newWorld(t)
	w.proxy.Add(faultproxy.Rule{Name: "held", Action: faultproxy.Hold(nil)})
	held := w.start(t, "/", "")
	require.Eventually(t, func() bool { return w.proxy.Counts()["held"] == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, w.proxy.Close())
	require.Error(t, (<-held).err)
	_, err := w.proxy.Listen("late")
	require.Error(t, err)
	require.Error(t, w.put(t, "/", "").err)
}
