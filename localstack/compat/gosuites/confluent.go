package gosuites

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/compat/suite"
)

// librdkafka is the version that a version of confluent-kafka-go has with it.
var librdkafka = map[string]string{"v2.11.1": "2.11.1", "v2.6.1": "2.6.1", "v2.3.0": "2.3.0"}

// confluent is the suite of a version of confluent-kafka-go, and with it of librdkafka.
func confluent(version string) suite.Suite {
	module := confluentModule + version
	known := map[string]string{
		"TestIntegration/TestAdminACLs":                        noACLs,
		"TestIntegration/TestAdminClient_UserScramCredentials": "it changes SCRAM users, which are not served yet",
	}
	if version != "v2.11.1" {
		known["TestIntegration/TestProducerConsumerTimestamps"] = "it produces a record of ten years ahead, which message.timestamp.after.max.ms refuses since Kafka 3.6 (KIP-937)"
	}
	if version == "v2.3.0" {
		known["TestIntegration/TestConsumerCommitted"] = "it wants an offset within a second that the client commits by itself after five; so it is on Apache Kafka 4.3.1"
		known["TestIntegration/TestAdminClient_ListOffsets"] = "it compares an Offset with an int64, which testify never finds equal"
	}
	return suite.Suite{
		Name:  "confluent-" + strings.TrimPrefix(version, "v"),
		About: fmt.Sprintf("own suite of confluent-kafka-go %s with librdkafka %s", strings.TrimPrefix(version, "v"), librdkafka[version]),
		Nodes: []int{1}, Settings: noRebalanceDelay, Limit: 15 * time.Minute,
		Known: known,
		Prepare: func(ctx context.Context, tools string, log io.Writer) error {
			dir, err := install(ctx, tools, module, log)
			if err != nil {
				return err
			}
			return build(ctx, dir, log, "test", "-run", "^$", "./kafka")
		},
		Run: func(ctx context.Context, t *suite.Target) ([]suite.Case, error) {
			if err := createTopic(ctx, t.Brokers, "test"); err != nil {
				return nil, err
			}
			dir := filepath.Join(sources(t.Tools, module), "kafka")
			conf, err := json.Marshal(map[string]any{
				"Brokers": strings.Join(t.Brokers, ","), "TopicName": "test", "GroupID": "testgroup",
				"PerfMsgCount": 100000, "PerfMsgSize": 100, "Config": []string{"api.version.request=true"},
			})
			if err != nil {
				return nil, fmt.Errorf("describe the brokers: %w", err)
			}
			if err := os.WriteFile(filepath.Join(dir, "testconf.json"), conf, 0o644); err != nil {
				return nil, fmt.Errorf("describe the brokers: %w", err)
			}
			return goTest{dir: dir, args: []string{"-timeout", "14m", "-run", "TestIntegration|Txn", "."}}.run(ctx, t.Log)
		},
	}
}

// createTopic creates the topic that the tests expect to be there, with one partition.
func createTopic(ctx context.Context, brokers []string, name string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, name); err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return nil
}
