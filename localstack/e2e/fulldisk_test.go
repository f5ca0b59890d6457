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
	"time"

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

	acked, err := produceUntilError(t, node.Addr, topic, 0, 128<<10)
	require.ErrorIs(t, err, kerr.KafkaStorageError, "after %d records", len(acked))
	require.Greater(t, len(acked), 1000)
	require.True(t, node.Running(), node.Output())
	consumeAlone(t, franz{}, node.Addr, topic, acked)

	require.NoError(t, os.Remove(fmt.Sprintf("/proc/%d/root%s/ballast", node.PID(), disk)))
	var more []event
	require.NoError(t, node.Await(timeout(t, 30*time.Second), func(context.Context) error {
		more, err = produceUntilError(t, node.Addr, topic, len(acked), 1000)
		return err
	}))
	consumeAlone(t, franz{}, node.Addr, topic, append(acked, more...))
	stop(t, node)
}

// produceUntilError produces records of 1 KiB, one request after the other, until one fails
// or there are so many, and returns those that were acknowledged.
func produceUntilError(t *testing.T, addr, topic string, first, records int) ([]event, error) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic), kgo.RecordRetries(0),
		kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ManualFlushing())
	require.NoError(t, err)
	defer client.Close()
	const batch = 50 // records of one request, which is stored whole or not at all
	var acked []event
	for len(acked) < records {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		var events []event
		var failed error
		for i := range batch {
			e := event{key: "k", value: fmt.Sprintf("%08d %s", first+len(acked)+i, strings.Repeat("x", 1000))}
			events = append(events, e)
			client.Produce(ctx, e.record(topic), func(_ *kgo.Record, err error) { failed = err })
		}
		err := errors.Join(client.Flush(ctx), failed)
		cancel()
		if err != nil {
			return acked, err
		}
		acked = append(acked, events...)
	}
	return acked, nil
}
