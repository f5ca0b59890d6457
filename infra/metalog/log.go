// Package metalog keeps a cluster's metadata: topics, configs, brokers, leaders
// and epochs, and the allocation of producer ids. It is a slot log of records
// that every broker folds into the same Image, with snapshots in the object store. The slots that a
// snapshot has replaced are kept there too, as the archive of who changed what (History).
// It judges no change: whoever updates decides on an Image, and the record that
// takes the next slot was decided on the Image that it changes. Image and Log are
// safe for concurrent use.
package metalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/slotlog"
)

// ErrClosed says that the Log has been closed.
var ErrClosed = errors.New("metadata log closed")

// Options are the parts and settings of a Log.
type Options struct {
	Store         kv.Store       // where the slots are
	Objects       objstore.Store // where the snapshots are
	SnapshotEvery uint64         // slots from one snapshot to the next; default 1000
	KeepSlots     uint64         // slots that a snapshot leaves, for brokers that lag a little; default 128
	MaxLevel      int16          // the highest level of LevelFeature to support; default LatestLevel
	Logger        *slog.Logger   // default: discards
}

func (o Options) withDefaults() Options {
	if o.SnapshotEvery == 0 {
		o.SnapshotEvery = 1000
	}
	if o.KeepSlots == 0 {
		o.KeepSlots = 128
	}
	if o.MaxLevel == 0 {
		o.MaxLevel = LatestLevel
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Log is a broker's hold of the metadata log.
type Log struct {
	opts   Options
	reader reader
	image  atomic.Pointer[Image]
	turn   chan struct{} // held by the one who folds and appends

	subsMu sync.Mutex
	subs   []*subscription

	snapshotTurn chan struct{} // held by the one who makes a snapshot
	snapshotted  atomic.Uint64 // the version of the newest snapshot we know of
	due          chan struct{} // has room for one: a snapshot is due
	life         context.Context
	end          context.CancelFunc
	done         chan struct{} // closed when snapshotLoop has returned
}

type subscription struct{ f func(old, new *Image) }

// Open folds the log up to its end and, if it is empty, makes the cluster's id and has it begin at the
// highest level. It fails with ErrNewer if the log is at a level that is not supported. The
// Log must be closed.
func Open(ctx context.Context, opts Options) (*Log, error) {
	opts = opts.withDefaults()
	l := &Log{
		opts: opts, reader: newReader(opts.Store, opts.Objects, opts.MaxLevel),
		turn: make(chan struct{}, 1), snapshotTurn: make(chan struct{}, 1),
		due: make(chan struct{}, 1), done: make(chan struct{}),
	}
	m, err := l.reader.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("open metadata log: %w", err)
	}
	l.image.Store(m)
	l.snapshotted.Store(m.version)
	l.life, l.end = context.WithCancel(context.Background())
	if _, err := l.Update(ctx, l.found); err != nil {
		l.end()
		return nil, fmt.Errorf("open metadata log: %w", err)
	}
	go l.snapshotLoop()
	return l, nil
}

// found makes a cluster if there is none.
func (l *Log) found(m *Image) ([]Record, error) {
	if m.ClusterID() != "" {
		return nil, nil
	}
	return []Record{ClusterCreated{ID: id.NewTopic().String()}, FinalizeLevel(l.opts.MaxLevel)}, nil
}

// MaxLevel is the highest level of LevelFeature that this Log supports.
func (l *Log) MaxLevel() int16 { return l.opts.MaxLevel }

// Image returns the newest Image that this Log has folded. It never blocks.
func (l *Log) Image() *Image { return l.image.Load() }

// Update brings the Image up to date, asks decide for records and appends them in
// one slot, all or none. When another appender takes the slot first, its records
// are folded and decide is asked again. The Image returned includes the records.
// An error of decide is returned as it is; no records means nothing to do.
//
// Commit point: the slot. The records are durable when Update returns. With
// kv.ErrUnknown, when ctx ends at a bad moment, they may have been appended and a later
// Refresh will tell; with kv.ErrTooLarge there are too many for a slot, with ErrLevel there is one that
// takes a higher level, and nothing was appended; with any other error nothing was appended. decide must not use the Log.
func (l *Log) Update(ctx context.Context, decide func(*Image) ([]Record, error)) (*Image, error) {
	if err := l.take(ctx, l.turn); err != nil {
		return nil, fmt.Errorf("update metadata: %w", err)
	}
	defer func() { <-l.turn }()
	for {
		m, err := l.reader.catchUp(ctx, l.Image(), l.publish)
		if err != nil {
			return nil, fmt.Errorf("update metadata: %w", err)
		}
		records, err := decide(m)
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			return m, nil
		}
		m, err = l.append(ctx, m, records)
		if errors.Is(err, slotlog.ErrTaken) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("update metadata: %w", err)
		}
		return m, nil
	}
}

// append takes the slot behind m. It folds what readers will decode, not what it was given.
func (l *Log) append(ctx context.Context, m *Image, records []Record) (*Image, error) {
	if err := m.allow(records); err != nil {
		return nil, err
	}
	payload, err := EncodeSlot(records)
	if err != nil {
		return nil, err
	}
	if len(payload) > kv.MaxValue {
		return nil, fmt.Errorf("%d records: %w: %d bytes in one slot, at most %d: split the change", len(records), kv.ErrTooLarge, len(payload), kv.MaxValue)
	}
	next, err := decodeRaw(slotlog.Slot{Seq: m.version + 1, Payload: payload}, l.opts.MaxLevel)
	if err != nil {
		return nil, err
	}
	err = l.reader.slots.Append(ctx, next.Seq, payload)
	if errors.Is(err, slotlog.ErrTruncated) {
		return nil, fmt.Errorf("%w: %w", kv.ErrUnknown, err)
	}
	if err != nil {
		return nil, err
	}
	m = fold(m, []Slot{next})
	l.publish(m)
	if m.version >= l.snapshotted.Load()+l.opts.SnapshotEvery {
		select {
		case l.due <- struct{}{}:
		default: // already due
		}
	}
	return m, nil
}

// Refresh folds what other appenders have added.
func (l *Log) Refresh(ctx context.Context) error {
	if err := l.take(ctx, l.turn); err != nil {
		return fmt.Errorf("refresh metadata: %w", err)
	}
	defer func() { <-l.turn }()
	if _, err := l.reader.catchUp(ctx, l.Image(), l.publish); err != nil {
		return fmt.Errorf("refresh metadata: %w", err)
	}
	return nil
}

// take waits for a turn, which the caller gives back by receiving from it.
func (l *Log) take(ctx context.Context, turn chan struct{}) error {
	if l.life.Err() != nil {
		return ErrClosed
	}
	select {
	case turn <- struct{}{}:
		return nil
	case <-l.life.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publish is called by the holder of the turn.
func (l *Log) publish(next *Image) {
	old := l.image.Swap(next)
	l.subsMu.Lock()
	defer l.subsMu.Unlock()
	for _, s := range l.subs {
		s.f(old, next)
	}
}

// Subscribe calls f after each change of the Image, one call at a time and in order,
// until cancel returns. f must be quick and must not use the Log but for Image, nor call cancel.
func (l *Log) Subscribe(f func(old, new *Image)) (cancel func()) {
	s := &subscription{f: f}
	l.subsMu.Lock()
	defer l.subsMu.Unlock()
	l.subs = append(l.subs, s)
	return func() {
		l.subsMu.Lock()
		defer l.subsMu.Unlock()
		l.subs = slices.DeleteFunc(l.subs, func(x *subscription) bool { return x == s })
	}
}

// Snapshot stores the Image as an object, unless there is a snapshot as new, and
// moves the slots that it replaces, but for the last KeepSlots, to the archive. The Log does the same by
// itself every SnapshotEvery slots.
func (l *Log) Snapshot(ctx context.Context) error {
	if err := l.take(ctx, l.snapshotTurn); err != nil {
		return fmt.Errorf("snapshot metadata: %w", err)
	}
	defer func() { <-l.snapshotTurn }()
	p, err := l.reader.snapshots.save(ctx, l.Image())
	if err != nil {
		return fmt.Errorf("snapshot metadata: %w", err)
	}
	l.snapshotted.Store(p.Current.Version)
	if p.Current.Version > l.opts.KeepSlots {
		before := p.Current.Version + 1 - l.opts.KeepSlots
		if err := l.reader.archive(ctx, before); err != nil {
			return fmt.Errorf("snapshot metadata: %w", err)
		}
		if err := l.reader.slots.Truncate(ctx, before); err != nil {
			return fmt.Errorf("snapshot metadata: %w", err)
		}
	}
	return l.reader.snapshots.sweep(ctx, p)
}

// snapshotLoop makes the snapshots that are due. One that fails costs nothing but
// room: the log still has the slots, and the next is due soon.
func (l *Log) snapshotLoop() {
	defer close(l.done)
	for {
		select {
		case <-l.life.Done():
			return
		case <-l.due:
		}
		if err := l.Snapshot(l.life); err != nil && l.life.Err() == nil {
			l.opts.Logger.Warn("metadata snapshot failed, the log keeps its slots", "error", err)
		}
	}
}

// Close ends the background work and waits for it, and for a call under way. Calls after it fail with ErrClosed; Image still returns the last Image.
func (l *Log) Close(ctx context.Context) error {
	l.end()
	select {
	case <-l.done:
	case <-ctx.Done():
		return fmt.Errorf("close metadata log: %w", ctx.Err())
	}
	for _, turn := range []chan struct{}{l.turn, l.snapshotTurn} {
		select {
		case turn <- struct{}{}:
			<-turn
		case <-ctx.Done():
			return fmt.Errorf("close metadata log: %w", ctx.Err())
		}
	}
	return nil
}
