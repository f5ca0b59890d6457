package broker

import (
	"errors"
	"io/fs"
	"reflect"
	"syscall"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/producers"
	"github.com/forebaylog/forebay/tiering/wal"
)

// translation maps the errors of the packages below to Kafka's, after admin.KafkaError. The first
// one that errors.Is reports wins. An error of this package that means one Kafka error wraps
// that *kerr.Error and needs no line.
var translation = []struct {
	err   error
	kafka *kerr.Error
}{
	{objstore.ErrNotFound, kerr.KafkaStorageError},

	{batch.ErrTooLarge, kerr.MessageTooLarge},
	{batch.ErrInvalidTimestamp, kerr.InvalidTimestamp},
	{batch.ErrUnsupportedCodec, kerr.UnsupportedCompressionType},
	{batch.ErrInvalidRecord, kerr.InvalidRecord},
	{batch.ErrCorrupt, kerr.CorruptMessage},
	{producers.ErrOutOfOrder, kerr.OutOfOrderSequenceNumber},
	{producers.ErrFenced, kerr.InvalidProducerEpoch},
	{producers.ErrCoordinatorFenced, kerr.TransactionCoordinatorFenced},
	{producers.ErrInvalidState, kerr.InvalidTxnState},
	{partition.ErrTransaction, kerr.InvalidTxnState},
	{partition.ErrOutOfRange, kerr.OffsetOutOfRange},
	{partition.ErrFenced, kerr.FencedLeaderEpoch},
	{partition.ErrUnknownEpoch, kerr.UnknownLeaderEpoch},
	{partition.ErrClosed, kerr.NotLeaderForPartition},
	{partition.ErrMoving, kerr.NotLeaderForPartition},
	{journal.ErrFull, kerr.KafkaStorageError},
	{journal.ErrCorrupt, kerr.KafkaStorageError},
	{journal.ErrFailed, kerr.KafkaStorageError},
	{journal.ErrClosed, kerr.NotLeaderForPartition},
	{wal.ErrClosed, kerr.NotLeaderForPartition},
	{wal.ErrFenced, kerr.NotLeaderForPartition},
	{session.ErrLost, kerr.NotLeaderForPartition},
	{session.ErrClosed, kerr.NotLeaderForPartition},
	{ErrSessionLost, kerr.NotLeaderForPartition},

	{fs.ErrNotExist, kerr.KafkaStorageError},
	{fs.ErrPermission, kerr.KafkaStorageError},
	{syscall.EIO, kerr.KafkaStorageError},
}

// kafkaError is the one place where an error becomes a Kafka error. What it does not
// know becomes UNKNOWN_SERVER_ERROR and is logged, with attrs. err must not be nil.
func (b *Broker) kafkaError(err error, attrs ...any) *kerr.Error {
	if ke := translate(err); ke != nil {
		return ke
	}
	b.log.Error("answer with UNKNOWN_SERVER_ERROR", append(attrs, "err", err)...)
	return kerr.UnknownServerError
}

// translate returns the Kafka error that stands for err, or nil.
func translate(err error) *kerr.Error {
	if ke := admin.KafkaError(err); ke != nil {
		return ke
	}
	for _, t := range translation {
		if errors.Is(err, t.err) {
			return t.kafka
		}
	}
	return nil
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
