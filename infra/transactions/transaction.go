package transactions

import (
	"slices"
	"time"

	"github.com/forebaylog/forebay/infra/id"
)

// State is where a transactional id stands.
type State uint8

// The states, by Kafka's names. The zero State, None, is that of an id that nobody has used.
const (
	None State = iota
	Empty
	Ongoing
	PrepareCommit
	PrepareAbort
	CompleteCommit
	CompleteAbort
)

var stateNames = [...]string{"None", "Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"}

// String returns Kafka's name of the state.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "Unknown"
}

// Preparing reports whether the end of the transaction is decided and its markers are not all written.
func (s State) Preparing() bool { return s == PrepareCommit || s == PrepareAbort }

// Transaction is what is known of a transactional id. It is a value: whoever changes one
// replaces Partitions by another slice.
type Transaction struct {
	State     State
	Version   int8        // transaction.version of the client of the last change; from 2 on each end bumps the epoch
	Producer  id.Producer // of now
	Previous  id.Producer // before the last change; NoProducer: none
	Next      id.Producer // that takes over when the transaction is complete; NoProducer: the same one
	Epoch     int16       // -1: none yet
	LastEpoch int16       // that a producer which repeats its request may name; -1: none
	Timeout   time.Duration
	Started   time.Time // of the transaction; zero: there was none since the producer was initialised
	Updated   time.Time
	// Partitions that the transaction has written to, in order.
	Partitions []id.Partition
}

// Has reports whether the partition belongs to the transaction.
func (t *Transaction) Has(p id.Partition) bool {
	_, ok := slices.BinarySearchFunc(t.Partitions, p, id.Partition.Compare)
	return ok
}
