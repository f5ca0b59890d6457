package broker

import "context"

// part is a subsystem that a Broker owns.
type part interface {
	// drain is called once when the broker begins to close: whatever is parked
	// (fetches that wait for records, members that wait for a group) is to be
	// answered now. It must not block.
	drain()
	// close stops the part's goroutines and releases what it holds. No request is in
	// flight any more.
	close(ctx context.Context) error
}

// parts holds the subsystems by name, one field each.
type parts struct {
	storage *storage
	groups  *groups
	waits   *imageWaits
	peers   *peers
	txns    *txnCoordinator
}

// openParts lists the subsystems in the order of opening; they close in reverse. A
// function here runs when b.meta is open and the broker is registered, before any
// client is accepted; it sets its field of parts.
func openParts() []func(ctx context.Context, b *Broker) (part, error) {
	return []func(ctx context.Context, b *Broker) (part, error){openStorage, openPeers, openGroups, openTransactions, openImageWaits}
}
