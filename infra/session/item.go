package session

import (
	"encoding/json"
	"fmt"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// part holds one item for each broker that has a session.
const part = "sessions"

func itemKey(node id.Broker) kv.Key {
	return kv.Key{Part: part, Sort: fmt.Sprintf("%010d", int32(node))}
}

// valueVersion is the one version of the value so far. Fields that a reader may skip do not raise it.
const valueVersion = 1

// lease is the value of an item.
type lease struct {
	V        int        `json:"v"`
	Session  id.Session `json:"session"`
	Node     id.Broker  `json:"node"`
	Renewals int64      `json:"renewals"` // how many went before
	Info     string     `json:"info"`     // for messages: where the broker can be found
	// TTL is that of the holder in milliseconds, which relies on it; 0: an older Forebay wrote it, and
	// the TTL is that of whoever watches.
	TTL int64 `json:"ttl,omitempty"`
	// Features are the levels that the broker supports; nil: an older Forebay wrote it.
	Features map[string]Levels `json:"features,omitempty"`
}

// newLease is what the holder writes.
func newLease(cfg Config, renewals int64) lease {
	return lease{
		Session: cfg.ID, Node: cfg.Node, Renewals: renewals, Info: cfg.Info, TTL: cfg.TTL.Milliseconds(), Features: cfg.Features,
	}
}

func (l lease) encode() ([]byte, error) {
	l.V = valueVersion
	value, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode session of node %d: %w", l.Node, err)
	}
	return value, nil
}

func decodeLease(item kv.Item) (lease, error) {
	var l lease
	if err := json.Unmarshal(item.Value, &l); err != nil {
		return lease{}, fmt.Errorf("%w: item %v: %w", ErrCorrupt, item.Key, err)
	}
	switch {
	case l.V > valueVersion:
		return lease{}, fmt.Errorf("%w: item %v has version %d, this one knows %d", ErrNewer, item.Key, l.V, valueVersion)
	case l.V != valueVersion || l.Session == "" || itemKey(l.Node) != item.Key:
		return lease{}, fmt.Errorf("%w: item %v has version %d, session %q, node %d", ErrCorrupt, item.Key, l.V, l.Session, l.Node)
	default:
		return l, nil
	}
}
