package offsets

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// stateKey is the sort key of the item with a group's state, among those of its offsets.
const stateKey = "state"

// The value of a state's item: one byte, the version, 1; 4 bytes, the epoch of the
// coordinator that wrote it, little endian; then the state.
const (
	stateVersion = 1
	stateFixed   = 5
)

// MaxState is the largest state of a group in bytes.
const MaxState = kv.MaxValue - stateFixed

func decodeState(b []byte) (epoch id.Epoch, state []byte, err error) {
	switch {
	case len(b) < stateFixed || b[0] == 0:
		return 0, nil, fmt.Errorf("%w: state of %d bytes", ErrCorrupt, len(b))
	case b[0] > stateVersion:
		return 0, nil, fmt.Errorf("%w: version %d, this one knows %d", ErrNewer, b[0], stateVersion)
	}
	return id.Epoch(binary.LittleEndian.Uint32(b[1:])), b[stateFixed:], nil
}

// StoreState stores the state of a group, at most MaxState bytes, for the coordinator of that
// epoch, in place of the one before. It is durable, and no other coordinator has missed it, when
// StoreState returns nil. ErrFenced says that the coordinator has been replaced. It is part
// of the group: LoadAll returns it and DeleteGroup removes it.
func (t *Table) StoreState(ctx context.Context, group string, epoch id.Epoch, state []byte) error {
	g, err := t.lock(group)
	if err != nil {
		return fmt.Errorf("store state: %w", err)
	}
	defer t.unlock(g)
	value := binary.LittleEndian.AppendUint32([]byte{stateVersion}, uint32(epoch))
	value = append(value, state...)
	var failed error
	for range attempts {
		if err := t.prepare(ctx, g, epoch); err != nil {
			return g.fail("store state beside", err)
		}
		r := kv.Settle(ctx, t.store, kv.Write{Key: kv.Key{Part: g.part(), Sort: stateKey}, Value: value, If: g.state})[0]
		if failed = r.Err; failed == nil {
			g.state = r.Version
			if failed = t.confirm(ctx, g, epoch); failed != nil {
				return g.fail("store state beside", failed)
			}
			return nil
		}
		g.loaded = false
		if !errors.Is(failed, kv.ErrConflict) {
			return g.fail("store state beside", failed)
		}
	}
	return g.fail("store state beside", contested(failed))
}

// deleteState removes the state's item of a group that is loaded. The Authority has been asked
// since: what a replaced coordinator removes late is the state of an empty group that nobody has used since.
func (t *Table) deleteState(ctx context.Context, g *group) error {
	if g.state == "" {
		return nil
	}
	r := kv.Settle(ctx, t.store, kv.Write{Key: kv.Key{Part: g.part(), Sort: stateKey}, Delete: true, If: g.state})[0]
	if errors.Is(r.Err, kv.ErrConflict) {
		return fmt.Errorf("%w: it stores the state: %w", ErrFenced, r.Err)
	}
	return r.Err
}
