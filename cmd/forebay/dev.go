package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/infra/id"
)

// closeTimeout bounds the clean end of a node.
const closeTimeout = 1800 * time.Millisecond

// devFlags are the settings of forebay dev.
type devFlags struct {
	dir                 string
	memory              bool
	kafkaAddr           string
	adminAddr           string
	listeners           []string
	advertisedListeners []string
	nodeID              int32
	rack                string
	storage             broker.Storage
	set                 []string
}

func newDev() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run one node with everything embedded",
		Long: `Run one node with everything embedded: the log on local disk, the metadata in
bbolt, the packs in a folder. It is complete at once and needs nothing else.

--set takes broker settings under Kafka's names, such as num.partitions=6.`,
		Example: "  forebay dev\n  forebay dev --memory --kafka-addr 127.0.0.1:19092\n  forebay dev --listeners INTERNAL://127.0.0.1:9092,LAN://0.0.0.0:9093 --advertised-listeners LAN://log.example.org:9093",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDev(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", "./forebay-data", "data directory, made if it does not exist")
	flags.BoolVar(&f.memory, "memory", false, "keep everything in memory; it is gone at the end")
	flags.StringVar(&f.kafkaAddr, "kafka-addr", "127.0.0.1:9092", "address for Kafka clients, unless --listeners is given")
	flags.StringVar(&f.adminAddr, "admin-addr", "127.0.0.1:8080", "address of /healthz, /readyz and /metrics; empty for none")
	flags.StringSliceVar(&f.listeners, "listeners", nil, "listeners as NAME://host:port, as Kafka's listeners")
	flags.StringSliceVar(&f.advertisedListeners, "advertised-listeners", nil, "what clients are told, as NAME://host:port, as Kafka's advertised.listeners")
	flags.Int32Var(&f.nodeID, "node-id", 1, "Kafka's node id")
	flags.StringVar(&f.rack, "rack", "", "rack, or availability zone, of the node")
	flags.Int64Var(&f.storage.SegmentBytes, "segment-bytes", 0, "size at which a hot segment is rolled (default 128 MiB)")
	flags.DurationVar(&f.storage.SegmentAge, "segment-age", 0, "age at which a hot segment is rolled (default 10m)")
	flags.Int64Var(&f.storage.TailBytes, "tail-bytes", 0, "newest records kept in memory (default 32 MiB)")
	flags.Int64Var(&f.storage.HotBytes, "hot-bytes", 0, "sealed hot segments kept on disk as cache (default 1 GiB)")
	flags.Int64Var(&f.storage.CacheBytes, "cache-bytes", 0, "memory for reads from packs (default 64 MiB)")
	flags.StringArrayVar(&f.set, "set", nil, "broker setting as name=value, under Kafka's name; may be repeated")
	return cmd
}

// tuneCollector trades a little processor time for memory: the heap is mostly
// buffers of records, which cost the collector next to nothing to mark, so that it
// may run twice as often as usual. GOGC in the environment overrides it.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// runDev runs a node until the command's context ends or the node fails.
func runDev(cmd *cobra.Command, f devFlags) (err error) {
	ctx := cmd.Context()
	tuneCollector()
	log, err := logger(cmd, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	cfg := broker.Config{NodeID: id.Broker(f.nodeID), Rack: f.rack, Storage: f.storage, Logger: log}
	if cfg.Listeners, err = parseListeners(f); err != nil {
		return err
	}
	if err := applySettings(&cfg, f.set); err != nil {
		return err
	}
	admin, err := listenAdmin(ctx, f.adminAddr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.close()) }()

	dir := openMemory()
	if !f.memory {
		if dir, err = openDataDir(f.dir); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	cfg.Metadata, cfg.Offsets, cfg.Objects, cfg.FS, cfg.DataDir, cfg.Registerer = dir.control, dir.offsets, dir.objects, dir.fs, dir.path, registry
	admin.serve(registry)

	node, err := broker.Open(ctx, cfg)
	if err != nil {
		return err
	}
	admin.ready.Store(true)
	welcome(cmd.OutOrStdout(), f, node.Addrs()[0], admin)
	var failed error
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case failed = <-node.Failed():
	}
	admin.ready.Store(false)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return errors.Join(failed, node.Close(closing))
}

// welcome says where the node is and what to try, ready to paste.
func welcome(w io.Writer, f devFlags, addr net.Addr, admin *adminServer) {
	where := "in memory"
	if !f.memory {
		where = "in " + f.dir
	}
	self, server := commandName(), ""
	if addr.String() != defaultBroker {
		server = " --brokers " + addr.String()
	}
	var b bytes.Buffer // written at once, for whoever waits for the first line
	fmt.Fprintf(&b, "Forebay is ready on %s, its data %s", addr, where)
	if admin.url() != "" {
		fmt.Fprintf(&b, ", health and metrics on %s", admin.url())
	}
	fmt.Fprintf(&b, ".\n\nTry, in another terminal:\n\n")
	fmt.Fprintf(&b, "  %s topic create events --partitions 3%s\n", self, server)
	fmt.Fprintf(&b, "  echo hello | %s produce events%s\n", self, server)
	fmt.Fprintf(&b, "  %s consume events --from-beginning%s\n\n", self, server)
	_, _ = b.WriteTo(w)
}

// commandName is what a user types to run this program again.
func commandName() string {
	exe, err := os.Executable()
	if err != nil {
		return "forebay"
	}
	if strings.Contains(exe, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/forebay"
	}
	if strings.ContainsRune(os.Args[0], filepath.Separator) {
		return os.Args[0]
	}
	return "forebay"
}
