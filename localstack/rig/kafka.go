package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// KafkaConfig says how to start Apache Kafka: one node that is broker and controller, with
// the settings of the distribution's config/server.properties.
type KafkaConfig struct {
	Java *Java
	Dir  string            // data directory, made if absent
	Addr string            // address for clients; a free one if empty
	Set  map[string]string // settings other than the defaults
}

// LaunchKafka formats the directory if that was not done, starts the server and returns
// without waiting until it is ready.
func LaunchKafka(ctx context.Context, cfg KafkaConfig) (*Node, error) {
	if cfg.Java == nil {
		return nil, fmt.Errorf("start Kafka: %w", errNoJars)
	}
	addr := cfg.Addr
	if addr == "" {
		free, err := FreeAddr()
		if err != nil {
			return nil, err
		}
		addr = free
	}
	controller, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	properties := filepath.Join(cfg.Dir, "server.properties")
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	if err := os.WriteFile(properties, []byte(serverProperties(cfg, addr, controller)), 0o644); err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	format := cfg.Java.Tool(ctx, storageTool, "format", "--ignore-formatted",
		"--cluster-id", "Zm9yZWJheS1iZW5jaC0wMQ", "--config", properties)
	if said, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format Kafka's directory: %w\n%s", err, said)
	}
	options := append([]string{"-Xmx1G", "-Xms1G"}, performanceOptions...)
	p, err := StartProcess("kafka", cfg.Java.command(ctx, options, serverMain, []string{properties}))
	if err != nil {
		return nil, err
	}
	return &Node{Process: p, Addr: addr, Dir: cfg.Dir, ready: func(ctx context.Context) error { return ping(ctx, addr) }}, nil
}

// StartKafka starts Apache Kafka and waits until it is ready.
func StartKafka(ctx context.Context, cfg KafkaConfig) (*Node, error) {
	return started(ctx)(LaunchKafka(ctx, cfg))
}

// serverProperties are the distribution's, with the addresses and directories of this node.
func serverProperties(cfg KafkaConfig, addr, controller string) string {
	settings := map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          "1",
		"controller.quorum.voters":                         "1@" + controller,
		"listeners":                                        "PLAINTEXT://" + addr + ",CONTROLLER://" + controller,
		"inter.broker.listener.name":                       "PLAINTEXT",
		"controller.listener.names":                        "CONTROLLER",
		"listener.security.protocol.map":                   "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"num.network.threads":                              "3",
		"num.io.threads":                                   "8",
		"socket.send.buffer.bytes":                         "102400",
		"socket.receive.buffer.bytes":                      "102400",
		"socket.request.max.bytes":                         "104857600",
		"log.dirs":                                         filepath.Join(cfg.Dir, "logs"),
		"num.partitions":                                   "1",
		"offsets.topic.replication.factor":                 "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"log.retention.hours":                              "168",
		"log.segment.bytes":                                "1073741824",
		"log.retention.check.interval.ms":                  "300000",
	}
	for name, value := range cfg.Set {
		settings[name] = value
	}
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "%s=%s\n", name, settings[name])
	}
	return b.String()
}

func ping(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return fmt.Errorf("ping %s: %w", addr, err)
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return fmt.Errorf("ping %s: %w", addr, err)
	}
	return nil
}
