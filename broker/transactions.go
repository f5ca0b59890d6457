package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/infra/id"
)

// txnVerification asks whether partitions belong to an open transaction (KIP-890).
type txnVerification struct {
	TransactionalID string
	Producer        id.Producer
	Epoch           int16
	Partitions      []id.Partition
	// Add adds the partitions to the transaction, and begins it if need be, for clients of
	// transaction version 2; without it they must have been added before.
	Add bool
}

// txnMarker ends a producer's transaction.
type txnMarker struct {
	Producer         id.Producer
	Epoch            int16
	Commit           bool  // else abort
	CoordinatorEpoch int32 // leader epoch of the coordinator's shard
	Version          int8  // transaction version of the client that began it: 2 and above bump the epoch with each transaction
}

// verifyTxn asks the coordinator of a transaction. It returns an error for each partition that
// must not be written to.
func (b *Broker) verifyTxn(_ context.Context, v txnVerification) map[id.Partition]error {
	errs := make(map[id.Partition]error, len(v.Partitions))
	for _, p := range v.Partitions {
		errs[p] = fmt.Errorf("verify transaction %q: transactions are not served: %w", v.TransactionalID, kerr.InvalidTxnState)
	}
	return errs
}

// endTxn ends a transaction on the offsets that are pending for it in a shard of the groups.
// done is called once, from any goroutine, when they are committed or dropped, or that failed.
func (m *groups) endTxn(_ int32, marker txnMarker, done func(error)) {
	done(fmt.Errorf("end the transaction of producer %d: transactions are not served: %w", marker.Producer, kerr.InvalidTxnState))
}
