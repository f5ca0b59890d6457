package metalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/slotlog"
)

// stream is the name of the slot log.
const stream = "metalog"

// readBatch is how many slots are read, and folded, at a time.
const readBatch = 64

// reader folds what is stored.
type reader struct {
	slots     *slotlog.Log
	snapshots snapshots
	most      int16 // the highest level that is supported
}

func newReader(store kv.Store, objects objstore.Store, most int16) reader {
	return reader{slots: slotlog.Open(store, stream), snapshots: snapshots{store: store, objects: objects, most: most}, most: most}
}

// Load folds the log up to its end and writes nothing, for tools. It returns an
// Image of version 0 when the log is empty.
func Load(ctx context.Context, store kv.Store, objects objstore.Store) (*Image, error) {
	r := newReader(store, objects, LatestLevel)
	m, err := r.start(ctx)
	if err != nil {
		return nil, err
	}
	return r.catchUp(ctx, m, func(*Image) {})
}

// Slots reads up to limit slots (0: all) from the version from on, for tools. Slots
// that a snapshot has replaced are left out.
func Slots(ctx context.Context, store kv.Store, from uint64, limit int) ([]Slot, error) {
	l := slotlog.Open(store, stream)
	first, err := l.First(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := l.Read(ctx, max(from, first), limit)
	if err != nil {
		return nil, err
	}
	slots := make([]Slot, len(raw))
	for i, s := range raw {
		if slots[i], err = decodeRaw(s, LatestLevel); err != nil {
			return slots[:i], err
		}
	}
	return slots, nil
}

func decodeRaw(s slotlog.Slot, most int16) (Slot, error) {
	records, err := decodeSlot(s.Payload, most)
	if err != nil {
		return Slot{}, fmt.Errorf("decode metadata slot %d: %w", s.Seq, err)
	}
	return Slot{Seq: s.Seq, Records: records}, nil
}

// start returns the Image to fold the first slots over.
func (r *reader) start(ctx context.Context) (*Image, error) {
	m, err := r.snapshots.load(ctx)
	if m == nil && err == nil {
		m = &Image{}
	}
	return m, err
}

// catchUp folds the slots behind m and calls publish for each new Image. It
// returns the last one, also with an error.
func (r *reader) catchUp(ctx context.Context, m *Image, publish func(*Image)) (*Image, error) {
	missing := uint64(0) // the slot found missing by the last read
	for {
		raw, err := r.slots.Read(ctx, m.version+1, readBatch)
		if errors.Is(err, slotlog.ErrTruncated) {
			if m, err = r.skip(ctx, m); err != nil {
				return m, err
			}
			publish(m)
			continue
		}
		if err != nil {
			return m, err
		}
		slots, err := r.contiguous(raw, m.version+1)
		if len(slots) > 0 {
			m = fold(m, slots)
			publish(m)
		}
		switch {
		case err != nil:
			return m, err
		case len(slots) == len(raw) && len(raw) < readBatch:
			return m, nil
		case len(raw) > 0 && len(slots) == 0:
			if missing == m.version+1 {
				return m, fmt.Errorf("fold metadata: %w: slot %d is missing, slot %d is there", ErrCorrupt, missing, raw[0].Seq)
			}
			missing = m.version + 1 // it was taken while we read, or it is lost: read again
		}
	}
}

// contiguous decodes the slots from next on up to the first that is missing.
func (r *reader) contiguous(raw []slotlog.Slot, next uint64) ([]Slot, error) {
	slots := make([]Slot, 0, len(raw))
	for _, s := range raw {
		if s.Seq != next {
			break
		}
		slot, err := decodeRaw(s, r.most)
		if err != nil {
			return slots, err
		}
		slots = append(slots, slot)
		next++
	}
	return slots, nil
}

// skip replaces m, the slots behind which have been truncated, by the newest snapshot.
func (r *reader) skip(ctx context.Context, m *Image) (*Image, error) {
	snapshot, err := r.snapshots.load(ctx)
	switch {
	case err != nil:
		return m, err
	case snapshot == nil || snapshot.version <= m.version:
		return m, fmt.Errorf("fold metadata: %w: slots behind %d are truncated and no newer snapshot is there", ErrCorrupt, m.version)
	default:
		return snapshot, nil
	}
}
