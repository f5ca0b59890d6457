package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/infra/vfs"
)

// nodeFlags are the settings of every node, alone or in a cluster.
type nodeFlags struct {
	kafkaAddr           string
	adminAddr           string
	adminTokens         tokenFile
	httpAddr            string
	httpTokens          tokenFile
	listeners           []string
	advertisedListeners []string
	nodeID              int32
	rack                string
	storage             broker.Storage
	lifecycle           broker.Lifecycle
	metricsLimit        int
	otlpEndpoint        string
	otlpSample          float64
	set                 []string
}

// register adds the flags. httpAddr is the default of --http-addr.
func (f *nodeFlags) register(flags *pflag.FlagSet, httpAddr string) {
	flags.StringVar(&f.kafkaAddr, "kafka-addr", "127.0.0.1:9092", "address for Kafka clients, unless --listeners is given")
	flags.StringVar(&f.adminAddr, "admin-addr", defaultAdmin, "address of the admin API, /healthz, /readyz, /metrics and /metrics/detailed; empty for none")
	flags.IntVar(&f.metricsLimit, "metrics-limit", 0, "how many partitions, topics, groups and offsets of groups, each, /metrics/detailed tells of (default 10000)")
	f.adminTokens.flag, f.httpTokens.flag = "--admin-token-file", "--http-token-file"
	flags.StringVar(&f.adminTokens.path, "admin-token-file", "", "file of who may use the admin API: a line of name, token and, for who may only read, the word read; without it everybody reads, and who is on this machine changes things")
	flags.StringVar(&f.httpAddr, "http-addr", httpAddr, "address for events over HTTP, POST /topics/TOPIC/events; empty for none")
	flags.StringVar(&f.httpTokens.path, "http-token-file", "", "file of who may send events over HTTP, as --admin-token-file has them; without it whoever reaches the address")
	flags.StringVar(&f.otlpEndpoint, "otlp-endpoint", "", "where spans go, an OTLP receiver over HTTP such as http://127.0.0.1:4318; empty for nowhere")
	flags.Float64Var(&f.otlpSample, "otlp-sample", 0.01, "share of the requests whose spans are sent")
	flags.StringSliceVar(&f.listeners, "listeners", nil, "listeners as NAME://host:port, as Kafka's listeners")
	flags.StringSliceVar(&f.advertisedListeners, "advertised-listeners", nil, "what clients are told, as NAME://host:port, as Kafka's advertised.listeners")
	flags.Int32Var(&f.nodeID, "node-id", 1, "Kafka's node id")
	flags.StringVar(&f.rack, "rack", "", "rack, or availability zone, of the node")
	flags.Int64Var(&f.storage.SegmentBytes, "segment-bytes", 0, "size at which a hot segment is rolled (default 128 MiB)")
	flags.DurationVar(&f.storage.SegmentAge, "segment-age", 0, "age at which a hot segment is rolled (default 10m)")
	flags.Int64Var(&f.storage.TailBytes, "tail-bytes", 0, "newest records kept in memory (default 32 MiB)")
	flags.Int64Var(&f.storage.HotBytes, "hot-bytes", 0, "sealed hot segments kept on disk as cache (default 1 GiB)")
	flags.Int64Var(&f.storage.CacheBytes, "cache-bytes", 0, "memory for reads from packs (default 64 MiB)")
	flags.StringVar(&f.lifecycle.Maintenance, "maintenance", config.MaintenanceBroker, "who does retention, merging and compaction: broker, or none if functions do")
	flags.DurationVar(&f.lifecycle.CollectInterval, "collect-interval", 0, "how often what nothing names any more is looked for in the object store; negative for never (default 1h)")
	flags.DurationVar(&f.lifecycle.CollectGrace, "collect-grace", 0, "how long that is kept; at least 40m (default 24h in a cluster, 1h alone)")
	flags.StringArrayVar(&f.set, "set", nil, "broker setting as name=value, under Kafka's name; may be repeated")
}

// nodeParts is what a node stands on.
type nodeParts struct {
	control, offsets kv.Store
	objects          objstore.Store
	fs               vfs.FS
	dataDir          string
	objectsName      string // what clients are told of where the packs are
	walName          string
	cluster          *broker.Cluster
	close            func() error
	welcome          func(net.Addr, *nodeRun) // says that the node is ready
}

// nodeRun runs a node for as long as its command does.
type nodeRun struct {
	cmd          *cobra.Command
	flags        nodeFlags
	closeTimeout time.Duration // for a clean end
	admin        *adminServer
	events       *eventServer
	metrics      atomic.Pointer[prometheus.Registry] // of the broker that runs
}

// tuneCollector trades a little processor time for memory: the heap is mostly
// buffers of records, which cost the collector next to nothing to mark, so that it
// may run twice as often as usual. GOGC in the environment overrides it.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// run opens the parts and a broker on them, until the command's context ends or the
// broker fails. A broker that was declared dead by others is opened anew, as soon as that can be.
func (r *nodeRun) run(open func(context.Context, *slog.Logger, prometheus.Registerer) (nodeParts, error)) (err error) {
	ctx := r.cmd.Context()
	tuneCollector()
	log, err := logger(r.cmd, r.cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	cfg := broker.Config{NodeID: id.Broker(r.flags.nodeID), Rack: r.flags.rack, Storage: r.flags.storage, Lifecycle: r.flags.lifecycle, Logger: log, DetailedLimit: r.flags.metricsLimit}
	if cfg.Listeners, err = parseListeners(r.flags); err != nil {
		return err
	}
	if err := applySettings(&cfg, r.flags.set); err != nil {
		return err
	}
	tracer, closeTracing, err := openTracing(ctx, r.flags.otlpEndpoint, r.flags.otlpSample, r.flags.nodeID)
	if err != nil {
		return err
	}
	defer closeTracing()
	cfg.Tracer = tracer
	if r.admin, err = listenAdmin(ctx, r.flags.adminAddr); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.admin.close()) }()
	if r.events, err = listenEvents(ctx, r.flags.httpAddr, r.flags.httpTokens, log); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.events.close()) }()
	registry := prometheus.NewRegistry()
	losses := prometheus.NewCounter(prometheus.CounterOpts{Name: "forebay_session_losses_total", Help: "Times that this broker was declared dead by others and opened anew."})
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "forebay_build_info", Help: "1.", ConstLabels: prometheus.Labels{"version": versionString(), "go": runtime.Version()}})
	build.Set(1)
	registry.MustRegister(build, losses, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	parts, err := open(ctx, log, registry)
	if err != nil {
		return err
	}
	defer func() {
		if !errors.Is(err, broker.ErrNotClosed) { // they are in use, and closing them might wait for that
			err = errors.Join(err, parts.close())
		}
	}()
	cfg.ObjectsName, cfg.WALName = parts.objectsName, parts.walName
	cfg.Metadata, cfg.Offsets, cfg.Objects, cfg.FS, cfg.DataDir, cfg.Cluster = parts.control, parts.offsets, parts.objects, parts.fs, parts.dataDir, parts.cluster
	closeAPI, err := r.admin.openAPI(parts, r.flags.adminTokens, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.admin.close(), closeAPI()) }() // in this order
	r.admin.serve(prometheus.Gatherers{registry, prometheus.GathererFunc(r.gather)})
	for again := false; ; {
		served, failed := r.serve(ctx, log, cfg, parts)
		switch {
		case ctx.Err() != nil:
			return failed
		case errors.Is(failed, broker.ErrSessionLost):
			losses.Inc()
			again = true
			log.Warn("opening anew with another session", "cause", failed)
		case again && !served && reopens(failed):
			log.Warn("cannot open anew yet, trying again", "err", failed)
			select {
			case <-time.After(reopenPause):
			case <-ctx.Done():
			}
		default:
			return failed
		}
	}
}

// reopenPause is the pause between attempts to open a broker anew.
const reopenPause = time.Second

// reopens reports whether a broker that has served before may open later all the same: what
// ended its session, such as a table that is away, may last longer than the session.
func reopens(failed error) bool {
	return !errors.Is(failed, session.ErrInUse) && !errors.Is(failed, broker.ErrForeign) && !errors.Is(failed, metalog.ErrNewer)
}

// serve runs one broker. It reports whether the broker got as far as to serve.
func (r *nodeRun) serve(ctx context.Context, log *slog.Logger, cfg broker.Config, parts nodeParts) (served bool, err error) {
	own := prometheus.NewRegistry()
	cfg.Registerer = own
	node, err := broker.Open(ctx, cfg)
	if err != nil {
		return false, err
	}
	r.metrics.Store(own)
	r.admin.node.Store(node)
	stopEvents, failed := r.events.serve(node, log, own)
	if failed == nil {
		parts.welcome(node.Addrs()[0], r)
		select {
		case <-ctx.Done():
			log.Info("stopping")
		case failed = <-node.Failed():
		}
		stopEvents()
	}
	r.admin.node.Store(nil)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.closeTimeout)
	defer cancel()
	closed := node.Close(closing)
	if errors.Is(closed, broker.ErrNotClosed) {
		log.Error("ending all the same", "err", closed, "goroutines", goroutines())
		return true, closed // the cause does not count: another broker cannot be opened beside this one
	}
	if failed != nil && closed != nil {
		log.Warn("closing after a failure", "err", closed)
		return true, failed
	}
	return true, errors.Join(failed, closed)
}

// goroutines tells what each goroutine is at.
func goroutines() string {
	stacks := make([]byte, 1<<20)
	return string(stacks[:runtime.Stack(stacks, true)])
}

// gather returns the metrics of the broker that runs.
func (r *nodeRun) gather() ([]*dto.MetricFamily, error) {
	if reg := r.metrics.Load(); reg != nil {
		return reg.Gather()
	}
	return nil, nil
}
