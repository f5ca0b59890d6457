//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	kafkatools "github.com/forebaylog/forebay/localstack/compat/console"
	"github.com/forebaylog/forebay/localstack/compat/suite"
)

// Apache Kafka's own tools reassign partitions, elect leaders, and look at and change what there is.
func TestKafkasTools(t *testing.T) {
	if !againstCluster() {
		t.Skip("it is about moving what several brokers lead")
	}
	var log strings.Builder
	cases := kafkatools.Tour(timeout(t, stepLimit), &suite.Target{Brokers: shared.cluster.Addrs(), Java: tools, Dir: t.TempDir(), Log: &log})
	require.NotEmpty(t, cases)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) { require.Equal(t, suite.Passed, c.Outcome, c.Reason) })
	}
	if t.Failed() {
		t.Log(log.String())
	}
}
