package gosuites

import (
	"context"
	"io"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
)

// kafkaGo is the suite of segmentio's kafka-go, which has the address of its broker built in.
func kafkaGo() suite.Suite {
	return suite.Suite{
		Name: "kafka-go", About: "own suite of the Go client kafka-go 0.4.51", Nodes: []int{1},
		Addrs:      func(int32) (kafka, admin string) { return "127.0.0.1:9092", "" },
		Advertised: func(int32) string { return "localhost:9092" },
		Settings: map[string]string{
			"group.initial.rebalance.delay.ms": "0", "num.partitions": "1", "message.max.bytes": "200000000",
		},
		Limit: 12 * time.Minute,
		Known: map[string]string{},
		Prepare: func(ctx context.Context, tools string, log io.Writer) error {
			dir, err := install(ctx, tools, kafkaGoModule, log)
			if err != nil {
				return err
			}
			return build(ctx, dir, log, "test", "-run", "^$", ".")
		},
		Run: func(ctx context.Context, t *suite.Target) ([]suite.Case, error) {
			return goTest{
				dir: sources(t.Tools, kafkaGoModule), env: []string{"KAFKA_SKIP_NETTEST=1", "KAFKA_VERSION=2.3.1"},
				args: []string{"-timeout", "11m", "."},
			}.run(ctx, t.Log)
		},
	}
}
