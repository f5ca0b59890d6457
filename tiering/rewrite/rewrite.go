// Package rewrite copies sealed segments into new packs: merged with their neighbours,
// compacted, or moved out of packs that are mostly dead, and puts the copies in their place.
//
// Commit point of each job: chain.Store.Replace, one item. A crash before it leaves an orphan.
// It removes nothing: what was replaced is for the collector. An Engine is safe for concurrent use.
package rewrite

import (
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
)

// Job is the rewriting of consecutive segments of one partition into one.
type Job struct {
	Partition id.Partition
	Start     id.Offset    // of the log, as the job was decided on
	Old       []chain.Item // canonical, in order, each beginning where the one before ends
	// Clean decides what is left of each batch; nil copies them as they are.
	Clean Cleaner
	// CleanedTo is what the new segment says of itself; for copies the lowest of the old ones'.
	CleanedTo id.Offset
}

// Cleaner takes records out of batches. It is given each batch of a job once, in order.
type Cleaner interface {
	// Clean returns what is left of v: v itself, or another batch with the same base and last
	// offset, leader epoch and producer, or nil. What it returns is valid until the next call.
	Clean(v batch.View) (batch.View, error)
}

// Result is what has become of a job.
type Result struct {
	Partition id.Partition
	Segment   chain.Segment // that is in the chain now; it may be empty
	Err       error         // chain.ErrChanged: somebody else was faster
}
