// Package wal is the group commit: batches that arrive while one group is being
// made durable form the next group, so that however many producers wait, they
// share one write and one fsync. It never looks into a batch.
//
// A Group is safe for concurrent use.
package wal

import (
	"context"
	"errors"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/journal"
)

// Sink makes the journal durable in the sense of one durability class.
type Sink interface {
	// Commit returns when everything before upTo is durable. It is called from one
	// goroutine with rising positions, after the bytes were written to the journal's files.
	Commit(ctx context.Context, upTo journal.Position) error
}

// Waiter is told of the progress of one batch, from the group's goroutine and in
// the order of Append. Its methods must not block.
type Waiter interface {
	// Written: the batch is in the segment file, but a power loss may still take it.
	Written()
	// Committed: the batch is durable (nil), or never will be known to be.
	Committed(err error)
}

// Config tunes a Group.
type Config struct{}

// Group is the group commit over one journal.
type Group struct{}

// New starts the group's goroutine; Close ends it.
func New(j *journal.Journal, sink Sink, cfg Config) *Group { return &Group{} }

// LocalSink is durability on this disk: one fsync for each group.
func LocalSink(j *journal.Journal) Sink { return localSink{j} }

type localSink struct{ j *journal.Journal }

func (s localSink) Commit(context.Context, journal.Position) error {
	_, err := s.j.Sync()
	return err
}

// Append queues the batch and its waiter under one lock.
func (g *Group) Append(p id.Partition, v batch.View, w Waiter) error { return errors.New("not built yet") }

// Failed is closed when a write or commit has failed; nothing is accepted from then on.
func (g *Group) Failed() <-chan struct{} { return nil }

// Err returns the error that failed the group, or nil.
func (g *Group) Err() error { return nil }

// Close commits what is queued and waits for the goroutine.
func (g *Group) Close(ctx context.Context) error { return nil }
