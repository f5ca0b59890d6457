// Package offsets keeps the committed offsets of consumer groups.
package offsets

import (
	"context"
	"errors"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// ErrFenced: another coordinator has written the group's offsets.
var ErrFenced = errors.New("offsets written by another coordinator")

// Entry is a committed offset.
type Entry struct {
	Topic       id.Topic
	TopicName   string
	Partition   int32
	Offset      id.Offset
	LeaderEpoch id.Epoch // -1: none
	Metadata    string
	CommitTime  time.Time // kept in milliseconds
	ExpireTime  time.Time // zero: none
}

// Table is all groups' offsets.
type Table struct{ store kv.Store }

// Open returns the table; it does no I/O.
func Open(store kv.Store) *Table { return &Table{store: store} }

// Commit stores entries.
func (t *Table) Commit(ctx context.Context, group string, entries []Entry) error {
	return errors.ErrUnsupported
}

// Load reads a group's entries.
func (t *Table) Load(ctx context.Context, group string) ([]Entry, error) {
	return nil, errors.ErrUnsupported
}

// Delete removes the offsets of partitions.
func (t *Table) Delete(ctx context.Context, group string, partitions ...id.Partition) error {
	return errors.ErrUnsupported
}

// DeleteGroup removes a group.
func (t *Table) DeleteGroup(ctx context.Context, group string) error { return errors.ErrUnsupported }

// Groups lists the groups that have offsets.
func (t *Table) Groups(ctx context.Context) ([]string, error) { return nil, errors.ErrUnsupported }

// CommitterConfig sets up a Committer.
type CommitterConfig struct {
	Window time.Duration // how long commits gather before they are written; default 0
}

// Committer gathers commits in front of a Table.
type Committer struct{}

// NewCommitter starts a Committer.
func NewCommitter(t *Table, cfg CommitterConfig) *Committer { return &Committer{} }

// Commit returns once the entries are durable.
func (c *Committer) Commit(ctx context.Context, group string, entries []Entry) error {
	return errors.ErrUnsupported
}

// Submit queues entries and calls done once they are durable or have failed.
func (c *Committer) Submit(group string, entries []Entry, done func(error)) {
	done(errors.ErrUnsupported)
}

// Close writes what is queued and waits.
func (c *Committer) Close(ctx context.Context) error { return nil }
