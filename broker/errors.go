package broker

import (
	"context"
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"syscall"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/offsets"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/infra/transactions"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/producers"
	"github.com/forebaylog/forebay/tiering/wal"
)

// translated says which Kafka error stands for err.
type translated struct {
	err   error
	kafka *kerr.Error
	// warn: something that the broker needs does not do its work. The answer does not tell what, so the log does.
	warn bool
}

// translation maps the errors of the packages below to Kafka's, before admin.KafkaError. The first one that
// errors.Is reports wins. An error of this package that means one Kafka error wraps
// that *kerr.Error and needs no line. What may go away by itself has an error that clients retry.
var translation = slices.Concat(dependencyErrors, logErrors, groupErrors, txnErrors)

// dependencyErrors are those of time, of the tables and of the object store.
var dependencyErrors = []translated{
	{err: context.DeadlineExceeded, kafka: kerr.RequestTimedOut},
	{err: context.Canceled, kafka: kerr.RequestTimedOut},
	{kv.ErrUnknown, kerr.RequestTimedOut, true},
	{kv.ErrUnavailable, kerr.RequestTimedOut, true},
	{err: kv.ErrClosed, kafka: kerr.BrokerNotAvailable},
	{err: objstore.ErrNotFound, kafka: kerr.KafkaStorageError},
	{objstore.ErrUnavailable, kerr.KafkaStorageError, true},
	{objstore.ErrRefused, kerr.KafkaStorageError, true},
	{objstore.ErrNoBucket, kerr.KafkaStorageError, true},
	{err: offsets.ErrClosed, kafka: kerr.CoordinatorNotAvailable},
	{err: offsets.ErrFenced, kafka: kerr.NotCoordinator},
	{err: transactions.ErrClosed, kafka: kerr.CoordinatorNotAvailable},
}

// logErrors are those of partitions, of their batches and of the tiers that hold them.
var logErrors = []translated{
	{err: batch.ErrTooLarge, kafka: kerr.MessageTooLarge},
	{err: batch.ErrInvalidTimestamp, kafka: kerr.InvalidTimestamp},
	{err: batch.ErrUnsupportedCodec, kafka: kerr.UnsupportedCompressionType},
	{err: batch.ErrInvalidRecord, kafka: kerr.InvalidRecord},
	{err: batch.ErrCorrupt, kafka: kerr.CorruptMessage},
	{err: producers.ErrOutOfOrder, kafka: kerr.OutOfOrderSequenceNumber},
	{err: producers.ErrFenced, kafka: kerr.InvalidProducerEpoch},
	{err: producers.ErrCoordinatorFenced, kafka: kerr.TransactionCoordinatorFenced},
	{err: producers.ErrInvalidState, kafka: kerr.InvalidTxnState},
	{err: partition.ErrTransaction, kafka: kerr.InvalidTxnState},
	{err: partition.ErrOutOfRange, kafka: kerr.OffsetOutOfRange},
	{err: partition.ErrFenced, kafka: kerr.FencedLeaderEpoch},
	{err: partition.ErrUnknownEpoch, kafka: kerr.UnknownLeaderEpoch},
	{err: partition.ErrClosed, kafka: kerr.NotLeaderForPartition},
	{err: partition.ErrMoving, kafka: kerr.NotLeaderForPartition},
	{err: journal.ErrFull, kafka: kerr.KafkaStorageError},
	{err: journal.ErrCorrupt, kafka: kerr.KafkaStorageError},
	{err: journal.ErrFailed, kafka: kerr.KafkaStorageError},
	{err: journal.ErrClosed, kafka: kerr.NotLeaderForPartition},
	{err: wal.ErrClosed, kafka: kerr.NotLeaderForPartition},
	{err: wal.ErrFenced, kafka: kerr.NotLeaderForPartition},
	{err: cold.ErrClosed, kafka: kerr.NotLeaderForPartition},
	{err: session.ErrLost, kafka: kerr.NotLeaderForPartition},
	{err: session.ErrClosed, kafka: kerr.NotLeaderForPartition},
	{err: ErrSessionLost, kafka: kerr.NotLeaderForPartition},

	{cold.ErrCorrupt, kerr.KafkaStorageError, true},
	{partition.ErrGap, kerr.KafkaStorageError, true},
	{wal.ErrFailed, kerr.KafkaStorageError, true},
	{err: fs.ErrNotExist, kafka: kerr.KafkaStorageError},
	{err: fs.ErrPermission, kafka: kerr.KafkaStorageError},
	{syscall.EIO, kerr.KafkaStorageError, true},
	{syscall.ENOSPC, kerr.KafkaStorageError, true},
	{syscall.EROFS, kerr.KafkaStorageError, true},
}

// kafkaError is the one place where an error becomes a Kafka error. What it does not
// know becomes UNKNOWN_SERVER_ERROR and is logged, with attrs. err must not be nil.
func (b *Broker) kafkaError(err error, attrs ...any) *kerr.Error {
	t := lookUp(err)
	switch {
	case t.kafka == nil:
		b.log.Error("answer with UNKNOWN_SERVER_ERROR", append(attrs, "err", err)...)
		return kerr.UnknownServerError
	case t.warn:
		b.log.Warn("answer with "+t.kafka.Message, append(attrs, "err", err)...)
	}
	return t.kafka
}

// translate returns the Kafka error that stands for err, or nil.
func translate(err error) *kerr.Error { return lookUp(err).kafka }

// lookUp returns how err is translated; kafka is nil if nothing is known of it.
func lookUp(err error) translated {
	if ke := (*kerr.Error)(nil); errors.As(err, &ke) {
		return translated{kafka: ke}
	}
	for _, t := range translation {
		if errors.Is(err, t.err) {
			return t
		}
	}
	return translated{kafka: admin.KafkaError(err)}
}

// errorResponse is the response to req that holds nothing but the code, or nil if
// responses of that key have no error of their own.
func errorResponse(req kmsg.Request, code int16) kmsg.Response {
	resp := req.ResponseKind()
	f := reflect.ValueOf(resp).Elem().FieldByName("ErrorCode")
	if !f.IsValid() || f.Kind() != reflect.Int16 {
		return nil
	}
	f.SetInt(int64(code))
	return resp
}
