package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/offsets"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/infra/transactions"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/wal"
)

func TestKafkaErrors(t *testing.T) {
	var log bytes.Buffer
	b, _ := bareBroker(t, Limits{}, &log)
	for _, tr := range translation {
		require.Equal(t, tr.kafka, b.kafkaError(fmt.Errorf("wrapped: %w", tr.err)))
	}
	require.Equal(t, kerr.InvalidRequest, b.kafkaError(fmt.Errorf("wrapped: %w", kerr.InvalidRequest)))
	both := errors.Join(kv.ErrUnknown, kerr.TopicDeletionDisabled)
	require.Equal(t, kerr.TopicDeletionDisabled, b.kafkaError(both), "a Kafka error that is named counts")
	require.NotContains(t, log.String(), "UNKNOWN_SERVER_ERROR")

	require.Equal(t, kerr.UnknownServerError, b.kafkaError(errors.New("disk on fire"), "api", "Produce"))
	require.Contains(t, log.String(), `err="disk on fire"`)
	require.Contains(t, log.String(), "api=Produce")
}

// What may go away by itself, and what another broker may do, is answered with an error that clients
// retry; and what the broker needs and does not get is in the log.
func TestOutagesAreRetried(t *testing.T) {
	for _, err := range []error{
		context.Canceled, context.DeadlineExceeded, kv.ErrUnknown, kv.ErrUnavailable, kv.ErrThrottled, kv.ErrUnreachable, kv.ErrAccessDenied,
		kv.ErrNoTable, kv.ErrClosed, kv.ErrInjected, metalog.ErrClosed, objstore.ErrUnavailable, objstore.ErrRefused, objstore.ErrNoBucket,
		session.ErrLost, session.ErrClosed, ErrSessionLost, wal.ErrFenced, wal.ErrClosed, wal.ErrFailed, journal.ErrClosed, journal.ErrFailed,
		journal.ErrFull, cold.ErrClosed, partition.ErrClosed, partition.ErrMoving, group.ErrNotAvailable, group.ErrNotCoordinator,
		offsets.ErrClosed, offsets.ErrFenced, transactions.ErrClosed, transactions.ErrFenced, syscall.ENOSPC, syscall.EIO,
	} {
		var log bytes.Buffer
		b, _ := bareBroker(t, Limits{}, &log)
		ke := b.kafkaError(fmt.Errorf("wrapped: %w", err))
		require.True(t, ke.Retriable, "%v: %v", err, ke)
		require.NotContains(t, log.String(), "UNKNOWN_SERVER_ERROR")
		if errors.Is(err, kv.ErrUnavailable) || errors.Is(err, objstore.ErrUnavailable) || errors.Is(err, wal.ErrFailed) {
			require.Contains(t, log.String(), "level=WARN", "%v", err)
			require.Contains(t, log.String(), "wrapped: "+err.Error())
		}
	}
}

// Responses with an error of their own can refuse a request, the others cannot.
func TestErrorResponse(t *testing.T) {
	resp := errorResponse(kmsg.NewPtrHeartbeatRequest(), kerr.UnsupportedVersion.Code)
	require.Equal(t, kerr.UnsupportedVersion.Code, resp.(*kmsg.HeartbeatResponse).ErrorCode) //nolint:errcheck // a panic fails the test
	require.Nil(t, errorResponse(kmsg.NewPtrProduceRequest(), kerr.UnsupportedVersion.Code))
}

func TestMessage(t *testing.T) {
	require.Nil(t, message(nil))
	require.Equal(t, "short", *message(errors.New("short")))
	long := *message(errors.New("x" + strings.Repeat("ä", maxMessage)))
	require.LessOrEqual(t, len(long), maxMessage)
	require.True(t, utf8.ValidString(long))
}

// As many partitions as one request may create fit into the metadata log.
func TestMostPartitions(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", admin.MaxPartitions, 1))
	topic, ok := n.meta.Image().Topic("t")
	require.True(t, ok)
	require.Len(t, topic.Partitions, admin.MaxPartitions)
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.SetVersion(3)
	req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 2 * admin.MaxPartitions}}
	require.NoError(t, kerr.ErrorForCode(ask(n, req, kmsg.NewPtrCreatePartitionsResponse()).Topics[0].ErrorCode))
}
