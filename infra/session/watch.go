package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Seen is one item as a Watcher has seen it.
type Seen struct {
	Node      id.Broker
	Session   id.Session
	Info      string
	Features  map[string]Levels // that the broker supports; nil: an older Forebay, which does not tell
	Version   kv.Version
	Unchanged time.Duration // for at least so long, as far as it was watched without a break
	Expired   bool          // for a TTL, its own or the watcher's if that is longer: Kill may end it
}

// Watcher times how long each item stays unchanged. It is for one goroutine.
type Watcher struct {
	store  kv.Store
	ttl    time.Duration
	polled time.Time // the end of the last good poll
	since  map[id.Broker]sighting
}

// sighting is the version of an item and the end of the poll that saw it first.
type sighting struct {
	version kv.Version
	at      time.Time
}

// NewWatcher returns a Watcher that has seen nothing yet. The TTL must be that of the holders, or longer; a
// holder whose item says that its own is longer has that long.
func NewWatcher(store kv.Store, ttl time.Duration) *Watcher {
	return &Watcher{store: store, ttl: ttl, since: map[id.Broker]sighting{}}
}

// List reads all sessions once, in the order of the node ids. It does not tell which of them are renewed.
func List(ctx context.Context, store kv.Store) ([]Seen, error) {
	return NewWatcher(store, DefaultTTL).Poll(ctx)
}

// Poll reads all items, in the order of the node ids. Call it twice a second, or at
// any rate more often than each TTL/2: after a poll that failed, and when the last one ended longer
// ago than TTL/2, the time of all items starts again. So after an outage of the table or a pause of
// the observer each holder has a full TTL to renew.
func (w *Watcher) Poll(ctx context.Context) ([]Seen, error) {
	start := time.Now()
	leases, items, err := readAll(ctx, w.store)
	if err != nil {
		w.Restart()
		return nil, fmt.Errorf("watch sessions: %w", err)
	}
	end := time.Now()
	if end.Sub(w.polled) > w.ttl/2 {
		w.Restart()
	}
	w.polled = end
	seen, since := make([]Seen, len(items)), make(map[id.Broker]sighting, len(items))
	for i, item := range items {
		node := leases[i].Node
		at, known := w.since[node]
		if !known || at.version != item.Version {
			at = sighting{item.Version, end}
		}
		since[node] = at
		unchanged := max(0, start.Sub(at.at)) // the read was not before start
		seen[i] = Seen{
			Node: node, Session: leases[i].Session, Info: leases[i].Info, Features: leases[i].Features, Version: item.Version,
			Unchanged: unchanged, Expired: unchanged >= max(w.ttl, time.Duration(leases[i].TTL)*time.Millisecond),
		}
	}
	w.since = since
	return seen, nil
}

// Restart forgets how long items were unchanged. Call it while the observer's own session is not
// valid: a table that takes no writes from it may take none from others.
func (w *Watcher) Restart() { clear(w.since) }

func readAll(ctx context.Context, store kv.Store) ([]lease, []kv.Item, error) {
	items, err := store.Query(ctx, part, kv.Range{})
	if err != nil {
		return nil, nil, err
	}
	leases := make([]lease, len(items))
	for i, item := range items {
		if leases[i], err = decodeLease(item); err != nil {
			return nil, nil, err
		}
	}
	return leases, items, nil
}

// Kill deletes the item in the version seen. Nil means that the session has ended and its
// holder's next renewal fails for good; so it is also when the item is gone or another session's by
// now. It fails with ErrAlive if the holder has renewed since. It finds out itself about writes of
// unknown outcome for as long as ctx lasts; so give ctx a deadline. After any other
// error the item may or may not be there.
func Kill(ctx context.Context, store kv.Store, seen Seen) error {
	err := kv.Settle(ctx, store, kv.Write{Key: itemKey(seen.Node), Delete: true, If: seen.Version})[0].Err
	if errors.Is(err, kv.ErrConflict) {
		err = whoIsThere(ctx, store, seen)
	}
	if err != nil {
		return fmt.Errorf("kill session %s of node %d: %w", seen.Session, seen.Node, err)
	}
	return nil
}

// whoIsThere returns ErrAlive if the item is still of the session seen.
func whoIsThere(ctx context.Context, store kv.Store, seen Seen) error {
	item, err := store.Get(ctx, itemKey(seen.Node))
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := decodeLease(item)
	switch {
	case err != nil:
		return err
	case now.Session != seen.Session:
		return nil
	default:
		return ErrAlive
	}
}
