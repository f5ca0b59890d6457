package sink_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/cmd/forebay/internal/sink"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a broker in memory with topics orders and dead.
type rig struct {
	t      *testing.T
	addr   string
	client *kgo.Client
	admin  *kadm.Client
}

func newRig(t *testing.T, partitions int32) *rig {
	t.Helper()
	b, err := broker.Open(t.Context(), broker.Config{
		NodeID: 1, Listeners: []broker.Listener{{BindAddr: "127.0.0.1:0"}}, Logger: slog.New(slog.DiscardHandler),
		Metadata: kv.NewMem(), Offsets: kv.NewMem(), Objects: objstore.NewMem(), FS: vfs.NewMem(),
		Groups: broker.Groups{InitialRebalanceDelay: -1},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	r := &rig{t: t, addr: b.Addrs()[0].String()}
	r.client, err = kgo.NewClient(kgo.SeedBrokers(r.addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(r.client.Close)
	r.admin = kadm.NewClient(r.client)
	_, err = r.admin.CreateTopics(t.Context(), partitions, 1, nil, "orders", "dead")
	require.NoError(t, err)
	return r
}

// produce writes n records to orders, whose keys come round, and whose values are numbers.
func (r *rig) produce(n, keys int, partitions int32) {
	r.t.Helper()
	var records []*kgo.Record
	for i := range n {
		key := i % keys
		records = append(records, &kgo.Record{Topic: "orders", Partition: int32(key) % partitions, Key: fmt.Append(nil, key), Value: fmt.Append(nil, i)})
	}
	require.NoError(r.t, r.client.ProduceSync(r.t.Context(), records...).FirstErr())
}

// start runs a sink until the test ends or stop is called, which returns how it ended.
func (r *rig) start(cfg sink.Config) (s *sink.Sink, stop func() error) {
	r.t.Helper()
	cfg.Client = []kgo.Opt{kgo.SeedBrokers(r.addr)}
	cfg.Topic, cfg.Group, cfg.Logger = "orders", "billing", slog.New(slog.DiscardHandler)
	if cfg.Backoff == 0 {
		cfg.Backoff, cfg.MaxBackoff = time.Millisecond, 5*time.Millisecond
	}
	s, err := sink.New(r.t.Context(), cfg)
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(30 * time.Second):
			return errors.New("the sink does not end")
		}
	})
	r.t.Cleanup(func() { _ = stop() })
	return s, stop
}

// committed sums the group's offsets.
func (r *rig) committed() (sum int64) {
	r.t.Helper()
	offsets, err := r.admin.FetchOffsets(r.t.Context(), "billing")
	require.NoError(r.t, err)
	offsets.Each(func(o kadm.OffsetResponse) { sum += max(o.At, 0) })
	return sum
}

// target takes records, and fails as decide says.
type target struct {
	mu     sync.Mutex
	taken  map[string][]string // values by key, in the order in which they were taken
	count  int
	decide func(records []*kgo.Record) sink.Result
}

func (f *target) Deliver(_ context.Context, records []*kgo.Record) sink.Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	var result sink.Result
	if f.decide != nil {
		result = f.decide(records)
	}
	if result.Verdict != sink.Delivered {
		return result
	}
	failed := map[string]bool{}
	for i, r := range records {
		key := fmt.Sprintf("%d/%s", r.Partition, r.Key)
		if slices.Contains(result.Items, i) {
			failed[key] = true
		}
		if failed[key] { // as a receiver does that keeps the order of a key
			continue
		}
		if f.taken == nil {
			f.taken = map[string][]string{}
		}
		f.taken[key] = append(f.taken[key], string(r.Value))
		f.count++
	}
	return result
}

func (f *target) has(n int) func() bool {
	return func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.count >= n
	}
}

// inOrder checks that the first deliveries of each key are in the order of the log, and returns how many
// records there are.
func (f *target) inOrder(t *testing.T) (distinct int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, values := range f.taken {
		last, seen := -1, map[string]bool{}
		for _, v := range values {
			if seen[v] {
				continue
			}
			seen[v] = true
			var n int
			_, err := fmt.Sscan(v, &n)
			require.NoError(t, err)
			require.Greater(t, n, last, "key %s", key)
			last = n
		}
		distinct += len(seen)
	}
	return distinct
}

func TestDelivers(t *testing.T) {
	r := newRig(t, 3)
	r.produce(3000, 100, 3)
	f := &target{}
	metrics := prometheus.NewRegistry()
	s, stop := r.start(sink.Config{Target: f, BatchSize: 50, Registerer: metrics})
	require.Eventually(t, f.has(3000), 20*time.Second, time.Millisecond)
	require.NoError(t, s.Ready())
	require.NoError(t, stop())
	require.Equal(t, 3000, f.inOrder(t))
	require.Equal(t, 3000, f.count, "nothing fails, so nothing comes twice")
	require.Equal(t, int64(3000), r.committed())
	require.NoError(t, testutil.GatherAndCompare(metrics, strings.NewReader(`
# HELP forebay_sink_lag Offsets behind what may be committed, over the partitions of this member, as of the last fetch of each.
# TYPE forebay_sink_lag gauge
forebay_sink_lag 0
# HELP forebay_sink_records_total Records by what came of them: delivered, retried (each time) or dead_lettered.
# TYPE forebay_sink_records_total counter
forebay_sink_records_total{outcome="dead_lettered"} 0
forebay_sink_records_total{outcome="delivered"} 3000
forebay_sink_records_total{outcome="retried"} 0
`), "forebay_sink_records_total", "forebay_sink_lag"))

	again := &target{}
	_, stop = r.start(sink.Config{Target: again})
	r.produce(3, 3, 3)
	require.Eventually(t, again.has(3), 20*time.Second, time.Millisecond)
	require.NoError(t, stop())
	require.Equal(t, 3, again.count, "it goes on where the other ended")
}

// faults are the ways of a receiver to fail at random, for good with every record whose value ends in 7.
func faults(seed uint64) func([]*kgo.Record) sink.Result {
	random := rand.New(rand.NewPCG(seed, 1))
	return func(records []*kgo.Record) sink.Result {
		for _, r := range records {
			if strings.HasSuffix(string(r.Value), "77") {
				return sink.Result{Verdict: sink.Refused, Kind: "HTTP 422", Reason: "sevens"}
			}
			if strings.HasSuffix(string(r.Value), "70") {
				return sink.Result{Verdict: sink.Failed, Kind: "HTTP 500", Reason: "seventy"}
			}
		}
		switch random.IntN(20) {
		case 0:
			return sink.Result{Verdict: sink.Failed, Kind: "HTTP 500", Reason: "at random"}
		case 1:
			return sink.Result{Verdict: sink.Unavailable, Kind: "HTTP 503", Reason: "at random", RetryAfter: time.Duration(random.IntN(3)) * time.Millisecond}
		case 2:
			return sink.Result{Items: []int{random.IntN(len(records))}, Kind: "item", Reason: "at random"}
		}
		return sink.Result{}
	}
}

func TestFaultyReceiver(t *testing.T) {
	r := newRig(t, 3)
	const n, poisoned = 5000, 100
	r.produce(n, 50, 3)
	f := &target{decide: faults(1)}
	_, stop := r.start(sink.Config{Target: f, BatchSize: 20, MaxAttempts: 6, DeadLetterTopic: "dead"})
	require.Eventually(t, func() bool { return r.committed() == n }, 40*time.Second, 20*time.Millisecond)
	require.NoError(t, stop())
	require.Equal(t, n-poisoned, f.inOrder(t))
	letters := r.deadLetters(poisoned)
	seen := map[string]bool{}
	for _, l := range letters {
		h := map[string]string{}
		for _, header := range l.Headers {
			h[header.Key] = string(header.Value)
		}
		want := map[string]string{"77": "HTTP 422", "70": "HTTP 500"}[string(l.Value[len(l.Value)-2:])]
		require.Equal(t, want, h["__connect.errors.exception.class.name"])
		require.Equal(t, []string{"orders", "billing"}, []string{h["__connect.errors.topic"], h["__connect.errors.connector.name"]})
		require.Equal(t, map[string]string{"77": "1", "70": "6"}[string(l.Value[len(l.Value)-2:])], h["__connect.errors.attempts"])
		at := h["__connect.errors.partition"] + "/" + h["__connect.errors.offset"]
		require.False(t, seen[at])
		seen[at] = true
	}
}

// deadLetters returns the n records of the topic dead, and checks that there are no more.
func (r *rig) deadLetters(n int) []*kgo.Record {
	r.t.Helper()
	ends, err := r.admin.ListEndOffsets(r.t.Context(), "dead")
	require.NoError(r.t, err)
	var total int64
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	require.Equal(r.t, int64(n), total)
	c, err := kgo.NewClient(kgo.SeedBrokers(r.addr), kgo.ConsumeTopics("dead"))
	require.NoError(r.t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	var letters []*kgo.Record
	for len(letters) < n && ctx.Err() == nil {
		letters = append(letters, c.PollFetches(ctx).Records()...)
	}
	require.Len(r.t, letters, n)
	return letters
}

// Without a dead-letter topic the first record that cannot be delivered ends the sink, and is not committed.
func TestWithoutDeadLetters(t *testing.T) {
	r := newRig(t, 1)
	r.produce(10, 1, 1)
	f := &target{decide: func(records []*kgo.Record) sink.Result {
		if string(records[0].Value) == "4" {
			return sink.Result{Verdict: sink.Refused, Kind: "HTTP 422", Reason: "no fours"}
		}
		return sink.Result{}
	}}
	s, err := sink.New(t.Context(), sink.Config{
		Client: []kgo.Opt{kgo.SeedBrokers(r.addr)}, Topic: "orders", Group: "billing", Target: f, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	err = s.Run(t.Context())
	require.ErrorContains(t, err, "record at offset 4 of partition 0 of orders cannot be delivered after 1 attempts: no fours")
	require.ErrorContains(t, err, "dead-letter topic")
	require.Equal(t, int64(4), r.committed())
}

// A receiver that is away is waited for, longer than attempts last, and nothing becomes a dead letter.
func TestOutage(t *testing.T) {
	r := newRig(t, 1)
	r.produce(100, 10, 1)
	calls := 0
	f := &target{decide: func([]*kgo.Record) sink.Result {
		if calls++; calls < 100 {
			return sink.Result{Verdict: sink.Unavailable, Reason: "away", RetryAfter: time.Millisecond}
		}
		return sink.Result{}
	}}
	_, stop := r.start(sink.Config{Target: f, MaxAttempts: 2, DeadLetterTopic: "dead"})
	require.Eventually(t, f.has(100), 20*time.Second, time.Millisecond)
	require.NoError(t, stop())
	require.Equal(t, 100, f.inOrder(t))
	r.deadLetters(0)
}

// Members that come and go hand partitions over: nothing is lost, and a clean end delivers nothing twice.
func TestMembersComeAndGo(t *testing.T) {
	r := newRig(t, 6)
	f := &target{}
	cfg := sink.Config{Target: f, BatchSize: 10}
	_, stopFirst := r.start(cfg)
	produced := 0
	produce := func() {
		r.produce(600, 60, 6)
		produced += 600
	}
	produce()
	require.Eventually(t, f.has(100), 20*time.Second, time.Millisecond)
	second, stopSecond := r.start(cfg)
	produce()
	require.Eventually(t, func() bool { return second.Ready() == nil }, 20*time.Second, time.Millisecond)
	produce()
	require.NoError(t, stopFirst())
	produce()
	require.Eventually(t, func() bool { return r.committed() == int64(produced) }, 30*time.Second, 20*time.Millisecond)
	require.NoError(t, stopSecond())
	require.Equal(t, produced, f.count, "handed over without duplicates")
}

// A delivery that lasts longer than it may holds a revocation up no longer than Drain.
func TestStuckDeliveryIsAbandoned(t *testing.T) {
	r := newRig(t, 2)
	r.produce(10, 2, 2)
	stuck := stuckTarget{called: make(chan struct{}, 100)}
	_, stop := r.start(sink.Config{Target: stuck, Drain: 50 * time.Millisecond, Timeout: time.Hour})
	<-stuck.called
	f := &target{}
	_, stopSecond := r.start(sink.Config{Target: f})
	require.Eventually(t, f.has(5), 30*time.Second, time.Millisecond, "the second gets a partition from the first")
	require.NoError(t, stop())
	require.Eventually(t, f.has(10), 30*time.Second, time.Millisecond)
	require.NoError(t, stopSecond())
	require.Equal(t, 10, f.inOrder(t))
}

type stuckTarget struct{ called chan struct{} }

func (s stuckTarget) Deliver(ctx context.Context, _ []*kgo.Record) sink.Result {
	select {
	case s.called <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return sink.Result{Verdict: sink.Failed, Reason: ctx.Err().Error()}
}

func TestNewRefuses(t *testing.T) {
	r := newRig(t, 1)
	good := sink.Config{Client: []kgo.Opt{kgo.SeedBrokers(r.addr)}, Topic: "orders", Group: "g", Target: &target{}, Logger: slog.New(slog.DiscardHandler)}
	for says, spoil := range map[string]func(*sink.Config){
		"look for topic nope":      func(c *sink.Config) { c.Topic = "nope" },
		"look for topic gone":      func(c *sink.Config) { c.DeadLetterTopic = "gone" },
		"is the topic itself":      func(c *sink.Config) { c.DeadLetterTopic = "orders" },
		"needs a topic":            func(c *sink.Config) { c.Group = "" },
		"must be 1 or more":        func(c *sink.Config) { c.BatchSize = -1 },
		"must not be negative":     func(c *sink.Config) { c.Backoff = -1 },
		"make the client of a sin": func(c *sink.Config) { c.Client = []kgo.Opt{kgo.SeedBrokers()} },
	} {
		cfg := good
		spoil(&cfg)
		_, err := sink.New(t.Context(), cfg)
		require.ErrorContains(t, err, says)
	}
}
