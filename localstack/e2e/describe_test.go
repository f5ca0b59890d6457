//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// Apache Kafka's own tool makes topics with as many replicas as there are brokers, and is
// told that all of them are in sync and that leaders are spread.
func TestDescribedWithFullISR(t *testing.T) {
	for _, partitions := range []int{1, 6, 100} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			ctx := timeout(t, stepLimit)
			topic := fmt.Sprintf("described-%d", partitions)
			kafkaTopics := func(args ...string) (said string) {
				require.NoError(t, settled(ctx, func(ctx context.Context) (err error) { // a broker may know a topic a while after the answer
					said, err = output(tools.Tool(ctx, rig.TopicCommand, append(args, "--bootstrap-server", shared.Addr)...))
					return err
				}))
				return said
			}
			kafkaTopics("--create", "--if-not-exists", "--topic", topic, "--partitions", fmt.Sprint(partitions), "--replication-factor", fmt.Sprint(replicas()))
			said := kafkaTopics("--describe", "--topic", topic)
			require.Contains(t, said, fmt.Sprintf("PartitionCount: %d\tReplicationFactor: %d\t", partitions, replicas()))
			leaders := map[string]int{}
			lines := regexp.MustCompile(`Partition: \d+\tLeader: (\d+)\tReplicas: (\S+)\tIsr: (\S+)`).FindAllStringSubmatch(said, -1)
			require.Len(t, lines, partitions, said)
			for _, line := range lines {
				leaders[line[1]]++
				require.Len(t, strings.Split(line[2], ","), int(replicas()))
				require.Equal(t, line[2], line[3], "in-sync replicas")
			}
			require.Len(t, leaders, min(partitions, int(replicas())), "brokers that lead")
			for leader, n := range leaders {
				require.LessOrEqual(t, n, partitions/int(replicas())+1, "partitions that broker %s leads", leader)
			}
			require.Empty(t, strings.TrimSpace(kafkaTopics("--describe", "--topic", topic, "--under-replicated-partitions")))
		})
	}
}
