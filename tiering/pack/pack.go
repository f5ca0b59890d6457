// Package pack is Forebay's object format: runs of untouched record batches, one
// run a partition, between a header and a footer that says where each run lies and
// what is in it. FORMAT.md beside this file has the offset tables.
//
// The package owns the bytes of an object and nothing else: it does not know
// where objects are stored, which are committed, or who reads them. A Writer is for
// one goroutine; a Footer is read-only once made and may be shared.
package pack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/producers"
)

// Errors that callers test with errors.Is.
var (
	// ErrCorrupt means that an object is not what was written; a *CorruptError says where.
	ErrCorrupt = errors.New("corrupt pack")
	// ErrVersion means that the object was written by another release than this one can read.
	ErrVersion = errors.New("pack version not supported")
)

// Header says who wrote an object and when.
type Header struct {
	Cluster string    // cluster id, at most 255 bytes
	Session string    // the writer's session, at most 255 bytes, "" outside of a cluster
	Node    id.Broker // the writer
	Created time.Time // kept in milliseconds
}

// AbortedTxn is a transaction of the run that was aborted.
type AbortedTxn = producers.AbortedTxn

// Footer is the table of contents of an object.
type Footer struct {
	Header
	Version byte  // of the object
	Runs    []Run // in the order of their bytes

	order []int32 // indexes of Runs, ordered by partition
}

// Run describes the batches of one partition. They follow each other without a gap from Base to
// Next; those of a sparse run need not, and may leave out offsets at its ends too.
type Run struct {
	Partition    id.Partition
	Base, Next   id.Offset // the offsets [Base, Next) are the run's
	Sparse       bool
	Pos, Length  int64    // bytes of the object
	MaxTimestamp int64    // milliseconds since 1970; a batch without records has -1
	FirstEpoch   id.Epoch // Epochs[0].Epoch
	Epochs       []EpochStart
	Records      int64
	CRC          uint32 // CRC32C of the run's bytes
	Index        []IndexEntry
	Heads        []uint32 // of a sparse run, for each index entry: see HeadSize
	Aborted      []AbortedTxn
	Producers    []producers.State // the partition's producers as of Next
}

// EpochStart is where a leader epoch begins within a run. Those of a sparse run are the
// partition's history, also of epochs no batch of which is left.
type EpochStart struct {
	Epoch id.Epoch
	Start id.Offset
}

// IndexEntry is a batch from which a run may be read; the first is the run's first
// batch, the others lie IndexInterval bytes or more apart.
type IndexEntry struct {
	Offset       id.Offset // base offset of the batch
	Pos          int64     // its position in the object
	MaxTimestamp int64     // the largest of the run up to the next entry's batch, in milliseconds since 1970
}

// IndexInterval is the least distance in bytes of two index entries.
const IndexInterval = 64 << 10

// HeadSize is how many bytes at the front of a batch its own checksum does not cover, that
// checksum included. Where they may lie tells a dense run by itself. For a sparse one Run.Heads
// has the CRC32C of these bytes of all batches from an index entry to the next one or the run's end.
const HeadSize = 21

// RangeReader reads any part of an object, as io.ReaderAt does.
type RangeReader interface {
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
}

// CorruptError says which part of an object is wrong.
type CorruptError struct {
	Part      string       // "header", "run", "footer" or "trailer"
	Partition id.Partition // of a run
	Offset    id.Offset    // of a run: base offset of the first batch that is wrong, -1 if only the run as a whole is
	Pos       int64        // position in the object
	Err       error
}

// Error names the part and its place.
func (e *CorruptError) Error() string {
	if e.Part != "run" {
		return fmt.Sprintf("pack %s at position %d: %v", e.Part, e.Pos, e.Err)
	}
	return fmt.Sprintf("pack run of %s, offset %d at position %d: %v", e.Partition, e.Offset, e.Pos, e.Err)
}

// Unwrap returns the cause and ErrCorrupt.
func (e *CorruptError) Unwrap() []error { return []error{ErrCorrupt, e.Err} }
