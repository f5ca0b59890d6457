package journal

import (
	"fmt"
	"iter"
	"path"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
)

// SegmentReader reads one segment file without changing it, while no journal is open
// on its directory. It is not safe for concurrent use.
type SegmentReader struct {
	ID      id.Segment
	Cluster string
	Created time.Time
	Size    int64 // of the file, in bytes

	file vfs.File
	path string
	h    header
	harm int64
}

// Frame is one element of a segment file.
type Frame struct {
	Position  int64 // in the file
	Length    int64 // with its header
	Synced    int64 // how much of the file was known to be durable when it was written
	Footer    bool  // else a batch
	Partition id.Partition
	Entry     Entry
	Batch     batch.View // valid until the next step
	Extents   iter.Seq2[id.Partition, Extent]

	summary summary
}

// OpenSegment opens a segment file and reads its header.
func OpenSegment(fsys vfs.FS, name string) (*SegmentReader, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	r := &SegmentReader{file: f, path: name}
	if err := r.readHeader(); err != nil {
		_ = f.Close() // only read from
		return nil, err
	}
	return r, nil
}

func (r *SegmentReader) readHeader() error {
	size, err := r.file.Size()
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	b := make([]byte, min(size, headerSize))
	if err := readFull(r.file, b, 0); err != nil {
		return fmt.Errorf("read header of %s: %w", r.path, err)
	}
	if r.h, r.harm, err = decodeHeader(b); err != nil {
		return &CorruptError{Path: r.path, What: err.Error()}
	}
	r.ID, r.Cluster, r.Created, r.Size = r.h.id, r.h.cluster, time.UnixMilli(r.h.created), size
	return nil
}

// Close closes the file.
func (r *SegmentReader) Close() error { return r.file.Close() }

// Frames yields every frame, each checked to the last byte, and a *CorruptError for
// every range in which there is none, after which it goes on. The zeros behind the
// last frame of a segment that was not rolled are no error.
func (r *SegmentReader) Frames() iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		sc := newScanner(r.file, r.h, r.Size)
		for {
			f, g, err := sc.next()
			switch {
			case err != nil:
				yield(Frame{}, fmt.Errorf("read %s: %w", r.path, err))
				return
			case g != nil && g.zero && g.to == r.Size, g == nil && f == nil:
				return
			case g != nil:
				if !yield(Frame{Position: g.from, Length: g.to - g.from}, &CorruptError{Path: r.path, Position: g.from, What: g.describe()}) {
					return
				}
			default:
				if !yield(r.frame(f), nil) {
					return
				}
			}
		}
	}
}

func (r *SegmentReader) frame(f *frame) Frame {
	out := Frame{Position: f.position, Length: f.end() - f.position, Synced: f.synced, Footer: f.kind == frameFooter, summary: f.summary}
	if out.Footer {
		out.Extents = f.summary.all()
		return out
	}
	out.Partition, out.Batch, out.Entry = f.partition, f.batch, entryOf(r.ID, f.position, f.batch)
	out.Extents = func(func(id.Partition, Extent) bool) {}
	return out
}

// Finding is something wrong in a directory of segments.
type Finding struct {
	Path     string
	Position int64 // of the first byte in question
	Length   int64 // bytes; 0 if it is not known
	What     string
}

// String names the place and what is wrong there.
func (f Finding) String() string { return fmt.Sprintf("%s:%d: %s", f.Path, f.Position, f.What) }

// Verify reads every byte of the segments in dir, without changing anything and while
// no journal is open on it, and reports what is not as it was written: any flipped
// bit in a header, frame or footer, or in the unused space at the end. After a crash
// the torn end of the newest segment is reported too. The error is of reading, not
// of what was found.
func Verify(fsys vfs.FS, dir string, report func(Finding)) error {
	files, err := fsys.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("verify hot segments: %w", err)
	}
	for _, f := range files {
		s, ok := parseSegmentName(f.Name())
		if !ok {
			continue
		}
		if err := verifySegment(fsys, path.Join(dir, f.Name()), s, report); err != nil {
			return fmt.Errorf("verify hot segments: %w", err)
		}
	}
	return nil
}

func verifySegment(fsys vfs.FS, name string, s id.Segment, report func(Finding)) (err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	r := &SegmentReader{file: f, path: name}
	if err := r.readHeader(); err != nil {
		report(Finding{Path: name, Length: headerSize, What: err.Error()})
		return nil
	}
	if r.harm >= 0 {
		report(Finding{Path: name, Position: r.harm, Length: headerCopy, What: "one of the two copies of the segment header is damaged"})
	}
	if r.ID != s {
		report(Finding{Path: name, What: fmt.Sprintf("the header is of segment %s", r.ID)})
	}
	return r.verifyFrames(report)
}

func (r *SegmentReader) verifyFrames(report func(Finding)) error {
	var entries []located
	var footer *Frame
	damaged := false // then the footer's count does not match for a reason that was reported
	end := int64(headerSize)
	for f, err := range r.Frames() {
		corrupt, isCorrupt := err.(*CorruptError) //nolint:errorlint // Frames yields it unwrapped
		switch {
		case isCorrupt:
			damaged = true
			report(Finding{Path: r.path, Position: f.Position, Length: f.Length, What: corrupt.What})
		case err != nil:
			return err
		case footer != nil:
			report(Finding{Path: r.path, Position: f.Position, Length: f.Length, What: "a frame after the footer"})
		case f.Footer:
			footer = &f
		default:
			entries = append(entries, located{f.Partition, f.Entry})
		}
		end = f.Position + f.Length
	}
	if footer == nil {
		return nil
	}
	if end != r.Size {
		report(Finding{Path: r.path, Position: end, Length: r.Size - end, What: "bytes after the footer"})
	}
	if got := summarize(entries); !damaged && (got.fold != footer.summary.fold || got.entries != footer.summary.entries) {
		report(Finding{Path: r.path, Position: footer.Position, What: fmt.Sprintf(
			"the footer counts %d batches, there are %d, or they are not the same", footer.summary.entries, got.entries)})
	}
	return nil
}

// InspectIndex visits every entry of the index in dir, in order of partition and
// offset, without changing it and while no journal is open on it. It refuses an index that
// was not closed cleanly or is damaged, which the next Open would make anew.
func InspectIndex(dir string, visit func(id.Partition, Entry) error) error {
	if err := checkSeal(dir); err != nil {
		return fmt.Errorf("open index in %s: %w", dir, err)
	}
	x := &index{}
	err := guard(func() (err error) {
		x.db, err = badger.Open(badgerOptions(dir).WithReadOnly(true))
		return err
	})
	if err != nil {
		return fmt.Errorf("open index in %s: %w", dir, err)
	}
	err = x.each(visit, func(id.Segment, tally) error { return nil })
	if cerr := x.close(); err == nil {
		err = cerr
	}
	return err
}
