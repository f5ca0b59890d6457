// Package metalog keeps a cluster's metadata: topics, configs, brokers, leaders
// and epochs, and the allocation of producer ids. It is a slot log of records
// that every broker folds into the same Image, with snapshots in the object store.
// It judges no change: whoever updates decides on an Image, and the record that
// takes the next slot was decided on the Image that it changes. Image and Log are
// safe for concurrent use.
package metalog

import (
	"context"
	"errors"
	"log/slog"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
)

// Options are the parts and settings of a Log.
type Options struct {
	Store         kv.Store       // where the slots are
	Objects       objstore.Store // where the snapshots are
	SnapshotEvery uint64         // slots from one snapshot to the next; default 1000
	Logger        *slog.Logger   // default: discards
}

// Log is a broker's hold of the metadata log.
type Log struct{}

// Open folds the log up to its end and, if it is empty, makes the cluster's id.
func Open(ctx context.Context, opts Options) (*Log, error) { return nil, errors.ErrUnsupported }

// Image returns the newest Image that this Log has folded. It never blocks.
func (l *Log) Image() *Image { return nil }

// Update brings the Image up to date, asks decide for records and appends them in
// one slot, all or none. When another appender takes the slot first, its records
// are folded and decide is asked again. The Image returned includes the records.
// An error of decide is returned as it is; no records means nothing to do.
func (l *Log) Update(ctx context.Context, decide func(*Image) ([]Record, error)) (*Image, error) {
	return nil, errors.ErrUnsupported
}

// Refresh folds what other appenders have added.
func (l *Log) Refresh(ctx context.Context) error { return errors.ErrUnsupported }

// Subscribe calls f after each change of the Image, in order, until cancel returns.
// f must be quick and must not call Update, Refresh, Snapshot or Close.
func (l *Log) Subscribe(f func(old, new *Image)) (cancel func()) { return func() {} }

// Snapshot stores the Image and truncates the slots that it covers.
func (l *Log) Snapshot(ctx context.Context) error { return errors.ErrUnsupported }

// Close ends the background work and waits for it.
func (l *Log) Close(ctx context.Context) error { return nil }
