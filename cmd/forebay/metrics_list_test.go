package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
)

// startMember runs a broker of a cluster on stores in memory, as forebay broker does.
func startMember(t *testing.T) (kafka, admin string) {
	t.Helper()
	cmd := &cobra.Command{}
	cmd.SetErr(newLines())
	cmd.Flags().String("log-level", "info", "")
	cmd.Flags().String("log-format", "text", "")
	ctx, stop := context.WithCancel(context.Background())
	cmd.SetContext(ctx)
	ready := make(chan [2]string, 1)
	r := nodeRun{cmd: cmd, closeTimeout: time.Second, flags: nodeFlags{kafkaAddr: "127.0.0.1:0", adminAddr: "127.0.0.1:0", nodeID: 1}}
	ended := make(chan error, 1)
	go func() {
		ended <- r.run(func(_ context.Context, _ *slog.Logger, reg prometheus.Registerer) (nodeParts, error) {
			stores, err := newStoreMetrics(reg)
			if err != nil {
				return nodeParts{}, err
			}
			stores.store("objects")(objstore.Request{Class: objstore.ClassPut}) // stores in memory send no requests
			stores.store("objects")(objstore.Request{Class: objstore.ClassPut, Status: 503})
			stores.table(kv.Request{Table: "control", Operation: "GetItem"})
			return nodeParts{
				control: kv.NewMem(), offsets: kv.NewMem(), objects: objstore.NewMem(), fs: vfs.NewMem(), cluster: &broker.Cluster{},
				close:   func() error { return nil },
				welcome: func(addr net.Addr, r *nodeRun) { ready <- [2]string{addr.String(), r.admin.url()} },
			}, nil
		})
	}()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	at := <-ready
	return at[0], at[1]
}

// exercise has a broker do something of everything that is counted by a label.
func exercise(t *testing.T, kafka string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(kafka), kgo.ConsumeTopics("events"), kgo.ConsumerGroup("readers"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	require.NoError(t, err)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for range 2 { // the second fails
		_, _ = adm.CreateTopic(t.Context(), 1, 1, nil, "events")
	}
	require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "events", Value: []byte("hello")}).FirstErr())
	nc, err := net.Dial("tcp", kafka)
	require.NoError(t, err)
	defer nc.Close()
	_, err = nc.Write([]byte("\xff\xff\xff\xff")) // no size, so that the broker hangs up
	require.NoError(t, err)
	_, err = nc.Read(make([]byte, 1))
	require.Error(t, err)
	require.Equal(t, 1, cl.PollFetches(t.Context()).NumRecords())
	require.NoError(t, cl.CommitUncommittedOffsets(t.Context()))
}

// scraped reads metrics as Prometheus does.
func scraped(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	code, body := get(t, url)
	require.Equal(t, 200, code, body)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	require.NoError(t, err)
	for name := range families {
		if !strings.HasPrefix(name, "forebay_") && !strings.HasPrefix(name, "kafka_") {
			delete(families, name) // of Go and of the process
		}
	}
	return families
}

// listing is a table of metrics, those of without left out.
func listing(families, without map[string]*dto.MetricFamily) string {
	var rows []string
	for name, f := range families {
		if without[name] != nil {
			continue
		}
		labels := map[string]bool{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels["`"+l.GetName()+"`"] = true
			}
		}
		var names []string
		for l := range labels {
			names = append(names, l)
		}
		slices.Sort(names)
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), strings.Join(names, ", "), f.GetHelp()))
	}
	slices.Sort(rows)
	return "| metric | type | labels | meaning |\n|---|---|---|---|\n" + strings.Join(rows, "")
}

const metricsHead = `# Metrics

What nodes, and ` + "`forebay sink`" + `, tell on their admin address (` + "`--admin-addr`" + `). This list is made from what they answer
(` + "`go test ./cmd/forebay -run TestMetricsAreListed -update`" + `); dashboards and alert rules in infra/monitoring are checked
against it. How to use them is said in [operations.md](operations.md#metrics-and-alerts).

Counters begin anew when a broker opens anew, also within its process. The metrics of the Go runtime and of
the process, ` + "`go_*` and `process_*`" + `, are those of Prometheus' client library.

`

// docs/metrics.md lists what nodes expose, and nothing else.
func TestMetricsAreListed(t *testing.T) {
	alone := startDev(t, "--memory")
	exercise(t, alone.addr)
	kafka, admin := startMember(t)
	exercise(t, kafka)

	everywhere, member, detailed := scraped(t, "http://"+alone.admin+"/metrics"), scraped(t, admin+"/metrics"), scraped(t, admin+"/metrics/detailed")
	for name := range everywhere {
		require.Contains(t, member, name, "what a node alone has, a broker of a cluster has, too")
	}
	for name := range detailed {
		require.NotContains(t, member, name, "a metric is of /metrics or of /metrics/detailed")
	}
	bus, sink := busMetrics(t)
	list := metricsHead + "## `/metrics` of every node\n\nNo label names a topic, a partition, a group or a client.\n\n" + listing(everywhere, nil) +
		"\n## `/metrics` of brokers of a cluster\n\n" + listing(member, everywhere) +
		"\n## `/metrics` of nodes with `--http-addr`\n\n" + listing(bus, everywhere) +
		"\n## `/metrics` of `forebay sink`\n\n" + listing(sink, nil) +
		"\n## `/metrics/detailed`\n\nBy topic, partition and group, and never older than 10 seconds.\n\n" + listing(detailed, nil)

	file := filepath.Join("..", "..", "docs", "metrics.md")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(list), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), list, "docs/metrics.md is not current: go test ./cmd/forebay -run TestMetricsAreListed -update")
	for _, name := range registered(t) {
		require.Contains(t, list, "`"+name+"`", "it is registered, but nothing that the test does makes it appear")
	}
}

// busMetrics are those of a node that takes an event over HTTP, and of a sink that takes it on.
func busMetrics(t *testing.T) (node, sink map[string]*dto.MetricFamily) {
	t.Helper()
	n := startDev(t, "--memory", "--http-addr", "127.0.0.1:0")
	exercise(t, n.addr)
	url := n.out.await(t, `events over HTTP on (http://\S+),`)[1]
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/topics/events/events", strings.NewReader("hello"))
	require.NoError(t, err)
	req.Header = http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/me"}, "Ce-Type": {"greeting"}}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)

	delivered := make(chan struct{}, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { delivered <- struct{}{} }))
	t.Cleanup(receiver.Close)
	c := start(t, "sink", "-b", n.addr, "--topic", "events", "--group", "metrics", "--to", receiver.URL, "--admin-addr", "127.0.0.1:0")
	admin := c.out.await(t, `metrics on (http://\S+)\.\n`)[1]
	<-delivered
	require.Eventually(t, func() bool {
		sink = scraped(t, admin+"/metrics")
		return sink["forebay_sink_requests_total"] != nil // it is counted once it is answered
	}, 10*time.Second, time.Millisecond)
	return scraped(t, "http://"+n.admin+"/metrics"), sink
}

// recorder notes what is registered.
type recorder struct {
	*prometheus.Registry
	names []string
}

var fqName = regexp.MustCompile(`fqName: "([^"]+)"`)

// Register implements prometheus.Registerer.
func (r *recorder) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		c.Describe(descs)
	}()
	for d := range descs {
		r.names = append(r.names, fqName.FindStringSubmatch(d.String())[1])
	}
	return r.Registry.Register(c)
}

// registered returns the names of all metrics of a broker of a cluster and of its stores.
func registered(t *testing.T) []string {
	t.Helper()
	r := &recorder{Registry: prometheus.NewRegistry()}
	_, err := newStoreMetrics(r)
	require.NoError(t, err)
	b, err := broker.Open(t.Context(), broker.Config{
		NodeID: 1, Listeners: []broker.Listener{{BindAddr: "127.0.0.1:0"}}, Metadata: kv.NewMem(), Offsets: kv.NewMem(), Objects: objstore.NewMem(),
		Cluster: &broker.Cluster{}, Registerer: r,
	})
	require.NoError(t, err)
	require.NoError(t, b.Close(t.Context()))
	require.Greater(t, len(r.names), 50)
	return r.names
}
