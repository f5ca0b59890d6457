package wal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/infra/slotlog"
)

// Errors of streams.
var (
	// ErrFenced: another broker has taken the stream's next slot. Nothing that was not
	// committed before will ever be.
	ErrFenced = errors.New("session fenced")
	// ErrCorrupt: a slot or an index of a stream is damaged.
	ErrCorrupt = errors.New("stream damaged")
	// ErrVersion: a newer Forebay wrote it.
	ErrVersion = errors.New("stream written by a newer Forebay")
)

// firstSlot is the sequence of a stream's first slot.
const firstSlot = 1

// Slots returns the stream of a session in the control table; it does no I/O.
func Slots(table kv.Store, session id.Session) *slotlog.Log {
	return slotlog.Open(table, "wal/"+string(session))
}

// ObjectRef names an object of the store.
type ObjectRef struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
}

// Slot is what a slot of a stream says, as JSON: either that objects are committed, in
// this order, or that the stream has ended.
type Slot struct {
	Version int         `json:"v"`
	Objects []ObjectRef `json:"objects,omitempty"`
	// Index names an object that holds the footers of the stream's objects, as FORMAT.md
	// says: of all that are not released, up to a slot before this one.
	Index *ObjectRef `json:"index,omitempty"`
	// Fence is set in the slot that ends the stream.
	Fence *FenceMark `json:"fence,omitempty"`
}

// FenceMark says who ended a stream.
type FenceMark struct {
	By id.Broker `json:"by"`
}

const slotVersion = 1

func (s Slot) encode() ([]byte, error) {
	s.Version = slotVersion
	return json.Marshal(s)
}

// DecodeSlot reads the payload of a slot. It fails with ErrCorrupt or ErrVersion.
func DecodeSlot(payload []byte) (Slot, error) {
	var s Slot
	if err := json.Unmarshal(payload, &s); err != nil {
		return Slot{}, fmt.Errorf("decode slot: %w: %w", ErrCorrupt, err)
	}
	switch {
	case s.Version > slotVersion:
		return Slot{}, fmt.Errorf("decode slot: %w: version %d, this one knows %d", ErrVersion, s.Version, slotVersion)
	case s.Version != slotVersion || (s.Fence == nil) == (len(s.Objects) == 0) || !s.valid():
		return Slot{}, fmt.Errorf("decode slot: %w: %s", ErrCorrupt, payload)
	}
	return s, nil
}

// valid reports whether all objects have a name and a size.
func (s Slot) valid() bool {
	bad := func(ref ObjectRef) bool { return ref.Name == "" || ref.Size <= 0 }
	return !slices.ContainsFunc(s.Objects, bad) && (s.Index == nil || !bad(*s.Index))
}

// Fence ends a stream by taking its next slot and returns the sequence of the last slot
// that counts, 0 if none does. It may be called again and by several at once.
//
// Commit point: the slot. A crash before it leaves the stream open; after it the stream's
// writer fails to commit, whatever it has uploaded.
func Fence(ctx context.Context, slots *slotlog.Log, by id.Broker) (through uint64, err error) {
	payload, err := Slot{Fence: &FenceMark{By: by}}.encode()
	if err != nil {
		return 0, fmt.Errorf("fence stream: %w", err)
	}
	for {
		last, ok, err := slots.Last(ctx)
		if err != nil {
			return 0, fmt.Errorf("fence stream: %w", err)
		}
		if !ok {
			last.Seq = firstSlot - 1
		} else if s, err := DecodeSlot(last.Payload); err != nil {
			return 0, fmt.Errorf("fence stream at slot %d: %w", last.Seq, err)
		} else if s.Fence != nil {
			return last.Seq - 1, nil
		}
		if seeded.Enabled(seeded.Fencing) {
			return last.Seq, nil
		}
		err = slots.Append(ctx, last.Seq+1, payload)
		if err == nil {
			return last.Seq, nil
		}
		if !errors.Is(err, slotlog.ErrTaken) && !errors.Is(err, slotlog.ErrTruncated) {
			return 0, fmt.Errorf("fence stream: %w", err)
		}
	}
}
