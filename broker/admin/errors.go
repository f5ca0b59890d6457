package admin

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
)

// translation maps the errors of the packages below to Kafka's. The first one that
// errors.Is reports wins.
var translation = []struct {
	err   error
	kafka *kerr.Error
}{
	{context.DeadlineExceeded, kerr.RequestTimedOut},
	{context.Canceled, kerr.RequestTimedOut},
	{kv.ErrUnknown, kerr.RequestTimedOut},
	{kv.ErrUnavailable, kerr.RequestTimedOut},
	{kv.ErrTooLarge, kerr.InvalidRequest},
	{metalog.ErrClosed, kerr.BrokerNotAvailable},
	{metalog.ErrLevel, kerr.UnsupportedVersion},
	{config.ErrUnknown, kerr.InvalidConfig},
	{config.ErrInvalid, kerr.InvalidConfig},
	{config.ErrNotList, kerr.InvalidConfig},
	{config.ErrReadOnly, kerr.InvalidRequest},
	{placement.ErrTooFewBrokers, kerr.InvalidReplicationFactor},
	{ErrKeyUsed, kerr.InvalidRequest},
	{group.ErrNotEmpty, kerr.NonEmptyGroup},
	{group.ErrNotFound, kerr.GroupIDNotFound},
	{offsets.ErrFenced, kerr.NotCoordinator},
	{offsets.ErrInvalidGroup, kerr.InvalidGroupID},
}

// KafkaError returns the Kafka error that the Err of a Change stands for, or nil if it is
// none: a failure below that no caller can help.
func KafkaError(err error) *kerr.Error {
	if ke := (*kerr.Error)(nil); errors.As(err, &ke) {
		return ke
	}
	for _, t := range translation {
		if errors.Is(err, t.err) {
			return t.kafka
		}
	}
	return nil
}
