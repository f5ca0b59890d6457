package metalog

import (
	"fmt"
	"slices"
	"time"
)

// Audited says who asked for the change that stands behind it, in the same slot: so the metadata
// log is the audit log, complete and in one order. The Records behind it are the change. What brokers
// do of themselves (taking over, balancing, moving log starts, registering) is no change that anybody
// asked for, and has none.
//
// Of an Audited with a Key the Image remembers the Outcome. It does not apply without By or
// Action, nor when the Key is remembered already; what it explains applies or not by itself.
type Audited struct {
	At       int64    `json:"at"` // milliseconds since 1970, by the clock of whoever appended it
	By       string   `json:"by"` // the principal, as "User:alice" or the ARN of a caller
	Via      Via      `json:"via"`
	Action   string   `json:"action"` // what was asked for, as "topic.create"
	Resource Resource `json:"resource"`
	Records  int      `json:"n"`                // how many records behind it are the change
	Key      string   `json:"key,omitempty"`    // the idempotency key of the request
	Digest   string   `json:"digest,omitempty"` // of what was asked for: the same key with another digest is a mistake
}

// Via is the way by which a request came.
type Via struct {
	API     string `json:"api,omitempty"`     // Kafka's name of the API, or the operation of another one
	Client  string `json:"client,omitempty"`  // Kafka's client id, or the user agent
	Address string `json:"address,omitempty"` // where it came from
}

// Resources of audited changes that have no configs.
const (
	ResourceFeature ResourceType = "feature"
	ResourceCluster ResourceType = "cluster" // the Name is ""
)

// Outcome is what became of a request with an idempotency key: it was done, in Slot.
type Outcome struct {
	Key      string   `json:"key"`
	At       int64    `json:"at"` // as Audited has it
	By       string   `json:"by"`
	Action   string   `json:"action"`
	Resource Resource `json:"resource"`
	Digest   string   `json:"digest,omitempty"`
	Slot     uint64   `json:"slot"` // the version of the Image that has it first
}

// Idempotency keys are remembered for KeysKept, by the times of the Audited records, and the
// newest MaxKeys of them at most.
const (
	KeysKept = 24 * time.Hour
	MaxKeys  = 1000
)

// Idempotent returns what became of the request with the key, or false when none is
// remembered. Its cost grows with the number of keys.
func (m *Image) Idempotent(key string) (Outcome, bool) {
	i := slices.IndexFunc(m.keys, func(o Outcome) bool { return o.Key == key })
	if key == "" || i < 0 {
		return Outcome{}, false
	}
	return m.keys[i], true
}

func (f *folder) audited(r Audited) bool {
	if r.By == "" || r.Action == "" {
		return false
	}
	if r.Key == "" {
		return true
	}
	if _, known := f.img.Idempotent(r.Key); known {
		return false
	}
	if !f.ownKeys {
		f.img.keys, f.ownKeys = slices.Clone(f.img.keys), true
	}
	outdated := r.At - KeysKept.Milliseconds()
	f.img.keys = slices.DeleteFunc(f.img.keys, func(o Outcome) bool { return o.At < outdated })
	if more := len(f.img.keys) + 1 - MaxKeys; more > 0 {
		f.img.keys = slices.Delete(f.img.keys, 0, more)
	}
	f.img.keys = append(f.img.keys, Outcome{
		Key: r.Key, At: r.At, By: r.By, Action: r.Action, Resource: r.Resource, Digest: r.Digest, Slot: f.img.version,
	})
	return true
}

// restoreKeys takes the keys of a snapshot.
func (m *Image) restoreKeys(keys []Outcome) error {
	for _, o := range keys {
		if _, doubled := m.Idempotent(o.Key); doubled || o.Key == "" {
			return fmt.Errorf("%w: idempotency key %q is doubled or empty", ErrCorrupt, o.Key)
		}
		m.keys = append(m.keys, o)
	}
	return nil
}
