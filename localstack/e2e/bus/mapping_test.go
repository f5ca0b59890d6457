//go:build e2e

package bus

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// An event source mapping of AWS Lambda for a self-managed Kafka is, to the brokers, a consumer
// group: its id is the mapping's UUID or a ConsumerGroupId, StartingPosition is where a group without
// offsets starts (TRIM_HORIZON, LATEST), and offsets are committed after the function
// has returned. Apache Kafka's own consumer is set up in this way: manual commits after each batch.
func TestAsAnEventSourceMapping(t *testing.T) {
	b := newBus(t, "orders")
	java, err := rig.FindJava(os.Getenv("FOREBAY_JARS"))
	require.NoError(t, err)
	const uuid = "14e0db71-5d35-4eb5-b481-8945cf9d10c2"
	mapping := func(group, reset string, records int, produce func()) (values []string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), step)
		defer cancel()
		cmd := java.Tool(ctx, rig.VerifiableConsumer, "--bootstrap-server", b.Addr, "--topic", "orders", "--group-id", group,
			"--reset-policy", reset, "--max-messages", fmt.Sprint(records), "--verbose", "--group-protocol", "classic")
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		require.NoError(t, cmd.Start())
		commits := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e struct {
				Name    string
				Value   string
				Success bool
			}
			require.NoError(t, json.Unmarshal(lines.Bytes(), &e), lines.Text())
			switch e.Name {
			case "partitions_assigned":
				produce()
				produce = func() {}
			case "record_data":
				values = append(values, e.Value)
			case "offsets_committed":
				require.True(t, e.Success, lines.Text())
				commits++
			}
		}
		require.NoError(t, cmd.Wait(), errs.String())
		require.Positive(t, commits)
		return values
	}
	write := func(values ...string) {
		b.run(strings.Join(values, "\n")+"\n", "kcat", "-b", b.Addr, "-t", "orders", "-P")
	}
	write("1", "2", "3")
	require.ElementsMatch(t, []string{"1", "2", "3"}, mapping(uuid, "earliest", 3, func() {}), "TRIM_HORIZON")
	require.Equal(t, int64(3), b.committed(uuid))
	write("4")
	require.Equal(t, []string{"4"}, mapping(uuid, "earliest", 1, func() {}), "it goes on where it was")
	require.Equal(t, int64(4), b.committed(uuid))

	// A partition without an offset starts at its end, which is wherever the consumer has looked: records are
	// written until one of them is taken.
	writing, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	latest := mapping("lambda-latest", "latest", 1, func() {
		writer.Go(func() {
			for n := 0; writing.Err() == nil; n++ {
				write(fmt.Sprintf("later-%d", n))
			}
		})
	})
	stop()
	writer.Wait()
	require.True(t, strings.HasPrefix(latest[0], "later-"), "LATEST: %v", latest)
}
