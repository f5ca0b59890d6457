package broker

import "github.com/forebaylog/forebay/infra/id"

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
