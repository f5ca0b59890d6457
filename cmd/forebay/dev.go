package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

// devCloseTimeout bounds the clean end of a node alone.
const devCloseTimeout = 1800 * time.Millisecond

// devFlags are the settings of forebay dev.
type devFlags struct {
	nodeFlags
	dir    string
	memory bool
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
	f.register(flags, defaultHTTP)
	return cmd
}

// runDev runs a node until the command's context ends or the node fails.
func runDev(cmd *cobra.Command, f devFlags) error {
	r := nodeRun{cmd: cmd, flags: f.nodeFlags, closeTimeout: devCloseTimeout}
	return r.run(func(context.Context, *slog.Logger, prometheus.Registerer) (parts nodeParts, err error) {
		dir := openMemory()
		if !f.memory {
			if dir, err = openDataDir(f.dir); err != nil {
				return parts, err
			}
		}
		return nodeParts{
			objectsName: filepath.Join(dir.path, objectsDir),
			control:     dir.control, offsets: dir.offsets, objects: dir.objects, fs: dir.fs, dataDir: dir.path, close: dir.close,
			welcome: func(addr net.Addr, r *nodeRun) { welcome(cmd.OutOrStdout(), f, addr, r) },
		}, nil
	})
}

// welcome says where the node is and what to try, ready to paste.
func welcome(w io.Writer, f devFlags, addr net.Addr, r *nodeRun) {
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
	if url := r.events.url(); url != "" {
		fmt.Fprintf(&b, ", events over HTTP on %s", url)
	}
	if url := r.admin.url(); url != "" {
		fmt.Fprintf(&b, ", health and metrics on %s", url)
	}
	fmt.Fprintf(&b, ".\n\nTry, in another terminal:\n\n")
	fmt.Fprintf(&b, "  %s topic create events --partitions 3%s\n", self, server)
	fmt.Fprintf(&b, "  echo hello | %s produce events%s\n", self, server)
	fmt.Fprintf(&b, "  %s consume events --from-beginning%s\n", self, server)
	if url := r.events.url(); url != "" {
		token := ""
		if r.flags.httpTokens.path != "" {
			token = ` -H "Authorization: Bearer $TOKEN"`
		}
		fmt.Fprintf(&b, "  curl %s/topics/events/events%s -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: /me' -H 'ce-type: greeting' -d hello\n", url, token)
	}
	b.WriteByte('\n')
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
