//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
)

// On a full disk produce requests fail with a Kafka error, the process lives and serves what
// it has; once there is space again it goes on. Nothing acknowledged is lost.
//
// The disk is a small tmpfs in a mount namespace of the broker's own, so that the test needs
// no privileges and leaves no mount behind.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	node, err := rig.StartForebay(t.Context(), rig.ForebayConfig{
		Binary: forebay, Dir: filepath.Join(disk, "data"),
		Env: []string{"FOREBAY_SEGMENT_BYTES=4194304", "FOREBAY_HOT_BYTES=1073741824"},
		Wrap: []string{
			"unshare", "--map-root-user", "--mount", "sh", "-c",
			`mount -t tmpfs -o size=64m forebay "$0" && head -c 24m /dev/zero >"$0/ballast" && exec "$@"`, disk,
		},
	})
	require.NoError(t, err)
	endWith(t, node)
	topic := newTopic(t, node.Addr, 1)

	numbers := 0 // of records produced, acknowledged or not
	acked, err := produceUntilError(t, node.Addr, topic, &numbers, 128<<10)
	require.ErrorIs(t, err, kerr.KafkaStorageError, "after %d records", len(acked))
	require.Greater(t, len(acked), 1000)
	require.True(t, node.Running(), node.Output())
	consumeAlone(t, franz{}, node.Addr, topic, acked)

	require.NoError(t, os.Remove(fmt.Sprintf("/proc/%d/root%s/ballast", node.PID(), disk)))
	require.NoError(t, node.Await(timeout(t, stepLimit), func(context.Context) error {
		more, err := produceUntilError(t, node.Addr, topic, &numbers, 1000)
		acked = append(acked, more...) // some may have found room in the segment that is full for others
		return err
	}))
	consumeAlone(t, franz{}, node.Addr, topic, acked)
	stop(t, node)
}

// produceUntilError produces records of 1 KiB, with some in a request and one request after the other,
// until one fails or so many are acknowledged, and returns those that are, one by one: the client is
// free to spread what it was given at once over requests, of which some succeed. numbers goes on
// with each record.
func produceUntilError(t *testing.T, addr, topic string, numbers *int, records int) (acked []event, err error) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic), kgo.RecordRetries(0),
		kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ManualFlushing())
	require.NoError(t, err)
	defer client.Close()
	const atOnce = 50
	for len(acked) < records && err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
		var failed error
		for range atOnce {
			e := event{key: "k", value: fmt.Sprintf("%08d %s", *numbers, strings.Repeat("x", 1000))}
			*numbers++
			client.Produce(ctx, e.record(topic), func(_ *kgo.Record, err error) { // one after the other, until Flush returns
				if err != nil {
					failed = err
					return
				}
				acked = append(acked, e)
			})
		}
		err = errors.Join(client.Flush(ctx), failed)
		cancel()
	}
	return acked, err
}
