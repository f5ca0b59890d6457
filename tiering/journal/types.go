package journal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/forebaylog/forebay/infra/id"
)

// Errors that callers tell apart. All others are failures of the disk.
var (
	// ErrFull: there is no room for another segment. Nothing was queued; appends
	// succeed again once space is free.
	ErrFull = errors.New("no disk space for another hot segment")
	// ErrNotHot: the offset is not in any hot segment; look for it in the sealed chain.
	ErrNotHot = errors.New("offset is not in the hot tier")
	// ErrCorrupt is matched by every CorruptError.
	ErrCorrupt = errors.New("hot segment is damaged")
	// ErrForeign: the directory belongs to another cluster; nothing was touched.
	ErrForeign = errors.New("data directory belongs to another cluster")
	// ErrOrder: the batch starts below the end of its partition.
	ErrOrder = errors.New("batch starts below the end of its partition")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal is closed")
	// ErrActive: the segment is still being written and cannot be dropped.
	ErrActive = errors.New("segment is still being written")
)

// CorruptError names bytes of a segment that are not what was once written.
type CorruptError struct {
	Path     string
	Position int64 // of the first byte in question
	What     string
}

// Error names the file and the position.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s at %s:%d: %s", ErrCorrupt, e.Path, e.Position, e.What)
}

// Is reports whether target is ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Position is a place in the journal: the bytes of Segment before Offset, and
// all earlier segments, lie before it. The zero Position lies before everything.
type Position struct {
	Segment id.Segment
	Offset  int64
}

// Compare orders positions as the journal does.
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(p.Segment, q.Segment); c != 0 {
		return c
	}
	return cmp.Compare(p.Offset, q.Offset)
}

// String returns "segment:offset".
func (p Position) String() string { return fmt.Sprintf("%s:%d", p.Segment, p.Offset) }

// Entry says where a batch is. It stays valid until its segment is dropped.
type Entry struct {
	Base, Next   id.Offset
	MaxTimestamp int64 // ms
	Epoch        id.Epoch
	Segment      id.Segment
	Pos          int64 // of the frame in the segment file
	Length       int32 // of the batch, in bytes
}

// Hash is a hash of e, an entry of p. The XOR of the hashes is the fold of a set of
// entries, in any order.
func (e Entry) Hash(p id.Partition) uint64 {
	var b [68]byte
	copy(b[:], p.Topic[:])
	binary.BigEndian.PutUint32(b[16:], uint32(p.Index))
	binary.BigEndian.PutUint64(b[20:], uint64(e.Base))
	binary.BigEndian.PutUint64(b[28:], uint64(e.Next))
	binary.BigEndian.PutUint64(b[36:], uint64(e.MaxTimestamp))
	binary.BigEndian.PutUint32(b[44:], uint32(e.Epoch))
	binary.BigEndian.PutUint64(b[48:], uint64(e.Segment))
	binary.BigEndian.PutUint64(b[56:], uint64(e.Pos))
	binary.BigEndian.PutUint32(b[64:], uint32(e.Length))
	return xxhash.Sum64(b[:])
}

// Extent is what one segment holds of one partition.
type Extent struct {
	First, Next  id.Offset
	MaxTimestamp int64 // ms
	Batches      int64
	Bytes        int64 // of the batches, without frame headers
}

// SegmentInfo describes one hot segment at the moment it was asked for.
type SegmentInfo struct {
	ID      id.Segment
	Path    string
	Size    int64 // bytes used; the file of the active segment is larger
	Created time.Time
	Rolled  bool // no more appends; may be dropped
	// Damaged is set when part of the segment could not be read at recovery.
	Damaged bool
	// Partitions yields what the segment holds, in order of partition if Rolled.
	Partitions iter.Seq2[id.Partition, Extent]
}

// Damage is a range of a segment file that recovery cut off or found unreadable.
type Damage struct {
	Segment  id.Segment
	Path     string
	Position int64
	Length   int64 // bytes
	What     string
}

// Recovery is what Open found and did.
type Recovery struct {
	Segments   int
	Partitions int
	Batches    int64
	Bytes      int64 // of the segment files
	Scanned    int   // segments read frame by frame, because they were not rolled or not indexed
	// Cut lists torn tails: bytes that were written but not known to be durable.
	Cut []Damage
	// Corrupt lists damage to bytes that were durable. What is around it is served.
	Corrupt []Damage
	// IndexRebuilt says that the index was made anew, IndexReason why.
	IndexRebuilt  bool
	IndexReason   string
	Duration      time.Duration // in all
	IndexDuration time.Duration // of which for the index
}

// Stats are counters since Open and sizes at the moment.
type Stats struct {
	Segments      int
	Partitions    int
	Bytes         int64 // of all segments, used
	TailBytes     int64 // held in memory for readers
	TailEntries   int   // index entries in memory
	Appends       int64
	AppendedBytes int64
	Flushes       int64
	Syncs         int64
	Rolls         int64
	IndexKeys     int64 // written to the index
	IndexRebuilds int64
	ReadsMemory   int64 // batches
	ReadsFile     int64 // batches
}
