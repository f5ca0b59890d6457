package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/broker"
)

// brokerCloseTimeout bounds the clean end of a broker: it gives its partitions away first.
const brokerCloseTimeout = 25 * time.Second

// brokerFlags are the settings of forebay broker.
type brokerFlags struct {
	nodeFlags
	storeFlags
	dataDir string
	cluster broker.Cluster
}

func newBroker() *cobra.Command {
	var f brokerFlags
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run a broker of a cluster",
		Long: `Run a broker of a cluster: the log and its packs in an object store, metadata and
group offsets in a table. The data directory is a cache and may be deleted at any moment.

All brokers of a cluster are given the same --object-store, --wal-store and --metadata,
and a --node-id each. SIGTERM gives the broker's partitions to the others before it ends.

Credentials come from where the SDKs look for them: AWS_ACCESS_KEY_ID and so on in the
environment, shared files, or the role of the machine; for minio:// also MINIO_ACCESS_KEY
and MINIO_SECRET_KEY.

--set takes broker settings under Kafka's names, such as num.partitions=6.`,
		Example: `  forebay broker --node-id 1 --rack a --object-store s3://my-log/prod?region=eu-central-1 \\
    --metadata dynamodb://my-log?region=eu-central-1 --data-dir /var/lib/forebay
  forebay broker --node-id 2 --kafka-addr 127.0.0.1:9093 --object-store minio://127.0.0.1:9000/log \\
    --metadata 'dynamodb://log?region=us-east-1&endpoint=http://127.0.0.1:4567&create=true'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runBroker(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dataDir, "data-dir", "./forebay-broker", "directory for hot segments and index, a cache; made if it does not exist")
	f.nodeFlags.register(flags, "")
	f.storeFlags.register(flags)
	flags.DurationVar(&f.cluster.SessionTTL, "session-ttl", 0, "after how long without a sign of life a broker counts as dead; the same in all brokers (default 3s)")
	flags.Float64Var(&f.cluster.PutRate, "wal-put-rate", 0, "budget of WAL objects per second that leave before they are full; negative for none (default 10)")
	flags.IntVar(&f.cluster.Uploads, "wal-uploads", 0, "WAL objects uploaded at once, of up to 8 MiB each (default 4)")
	flags.Int64Var(&f.cluster.MaxWaiting, "wal-max-waiting", 0, "bytes that may wait for their commit before producers are slowed down (default 64 MiB)")
	flags.DurationVar(&f.cluster.MetadataPoll, "metadata-poll", 0, "how often changes of the metadata are looked for (default 100ms)")
	flags.DurationVar(&f.cluster.Rebalance, "rebalance-interval", 0, "how often leaders are balanced over the brokers (default 10s)")
	return cmd
}

func runBroker(cmd *cobra.Command, f brokerFlags) error {
	r := nodeRun{cmd: cmd, flags: f.nodeFlags, closeTimeout: brokerCloseTimeout}
	return r.run(func(ctx context.Context, log *slog.Logger, metrics prometheus.Registerer) (nodeParts, error) {
		dir, err := openCacheDir(f.dataDir)
		if err != nil {
			return nodeParts{}, err
		}
		stores, err := f.open(ctx, log, metrics)
		if err != nil {
			return nodeParts{}, errors.Join(err, dir.close())
		}
		cluster := f.cluster
		cluster.WAL = stores.wal
		return nodeParts{
			objectsName: storeName(f.objectStore), walName: storeName(f.walStore),
			control: stores.control, offsets: stores.offsets, objects: stores.objects, fs: dir.fs, dataDir: dir.path, cluster: &cluster,
			close:   func() error { return errors.Join(stores.close(), dir.close()) },
			welcome: func(addr net.Addr, r *nodeRun) { welcomeBroker(cmd.OutOrStdout(), f, addr, r) },
		}, nil
	})
}

func welcomeBroker(w io.Writer, f brokerFlags, addr net.Addr, r *nodeRun) {
	more := ""
	if url := r.events.url(); url != "" {
		more = ", events over HTTP on " + url
	}
	if url := r.admin.url(); url != "" {
		more += ", health and metrics on " + url
	}
	fmt.Fprintf(w, "Forebay broker %d is ready on %s%s.\n", f.nodeID, addr, more)
}
