package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
)

// located is an entry with its partition.
type located struct {
	p id.Partition
	Entry
}

// scanned is what a walk over the frames of a segment found.
type scanned struct {
	entries []located
	gaps    []gap
	footer  int64 // position of the first footer frame, or 0
	synced  int64 // what some frame knew to be durable, at most
	end     int64 // after the last good frame
}

// recovery opens a directory of segments and repairs its end.
type recovery struct {
	j     *Journal
	found []*candidate
	scans map[*segment][]located // of segments that were scanned, for the index
	Recovery
}

// candidate is a segment file before it is decided what becomes of it.
type candidate struct {
	*segment
	fileSize int64
	headerOK bool
	blank    bool     // nothing but zeros after the place of the header
	scan     *scanned // nil if the footer is good
}

// Open recovers the directory and returns a journal that takes appends. It reads
// the segments that were not rolled frame by frame, cuts off what was not durable,
// and checks the index against the segments. The caller holds a lock on the
// directory. On error nothing stays open; with ErrForeign nothing was touched.
func Open(ctx context.Context, cfg Config) (*Journal, Recovery, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, Recovery{}, err
	}
	began := time.Now()
	j := &Journal{
		cfg: cfg, start: began, parts: map[id.Partition]*part{}, prepared: make(chan struct{}), rolled: make(chan struct{}, 1),
		wantNext: make(chan struct{}, 1), wantTend: make(chan struct{}, 1), wantZero: make(chan struct{}, 1), done: make(chan struct{}), shut: make(chan struct{}),
	}
	r := &recovery{j: j, scans: map[*segment][]located{}}
	if err := r.run(ctx); err != nil {
		return nil, r.Recovery, errors.Join(fmt.Errorf("open journal in %s: %w", cfg.Dir, err), r.abandon())
	}
	r.Duration = time.Since(began)
	j.loops.Add(3)
	go j.prepareLoop()
	go j.tendLoop()
	go j.zeroLoop()
	return j, r.Recovery, nil
}

func (r *recovery) run(ctx context.Context) error {
	if err := r.load(ctx); err != nil {
		return err
	}
	if err := r.scanOpen(ctx); err != nil {
		return err
	}
	if err := r.settleAll(); err != nil {
		return err
	}
	began := time.Now()
	if err := r.checkIndex(ctx); err != nil {
		return err
	}
	r.IndexDuration = time.Since(began)
	r.list()
	return r.firstSegment()
}

// abandon closes what a failed Open has opened.
func (r *recovery) abandon() error {
	var errs []error
	for _, c := range r.found {
		errs = append(errs, c.release())
	}
	if r.j.index != nil {
		errs = append(errs, r.j.index.close())
	}
	return errors.Join(errs...)
}

// load opens every segment file and reads its header. It changes nothing.
func (r *recovery) load(ctx context.Context) error {
	fsys, dir := r.j.cfg.FS, r.j.cfg.Dir
	if err := makeDir(fsys, dir); err != nil {
		return err
	}
	files, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		s, ok := parseSegmentName(f.Name())
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.loadSegment(s, path.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes a directory and those above it that are absent, durably.
func makeDir(fsys vfs.FS, dir string) error {
	var parents []string
	for at := path.Clean(dir); ; at = path.Dir(at) {
		if _, err := fsys.Stat(at); err == nil || path.Dir(at) == at {
			break
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		parents = append(parents, path.Dir(at))
	}
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range slices.Backward(parents) {
		if err := fsys.SyncDir(p); err != nil {
			return fmt.Errorf("sync directory %s: %w", p, err)
		}
	}
	return nil
}

func (r *recovery) loadSegment(s id.Segment, name string) error {
	f, err := r.j.cfg.FS.OpenFile(name, os.O_RDWR|vfs.Direct, 0)
	if err != nil {
		return err
	}
	c := &candidate{segment: newSegment(header{id: s}, name, f)}
	r.found = append(r.found, c)
	r.j.lastID = max(r.j.lastID, s)
	if c.fileSize, err = f.Size(); err != nil {
		return err
	}
	if c.fileSize >= headerSize {
		b := make([]byte, headerSize)
		if err := readFull(f, b, 0); err != nil {
			return fmt.Errorf("read header of %s: %w", name, err)
		}
		h, harm, err := decodeHeader(b)
		if errors.Is(err, errVersion) {
			return fmt.Errorf("read header of %s: %w", name, err)
		}
		if c.headerOK = err == nil && h.id == s; c.headerOK {
			c.header = h
			if harm >= 0 {
				r.corrupt(c.segment, harm, headerCopy, "one of the two copies of the segment header is damaged")
			}
		}
	}
	if c.headerOK && c.cluster != r.j.cfg.Cluster {
		return fmt.Errorf("segment %s is of cluster %q, this is %q: %w", name, c.cluster, r.j.cfg.Cluster, ErrForeign)
	}
	return nil
}

// scanOpen reads the footers, and the frames of the segments that have none.
func (r *recovery) scanOpen(ctx context.Context) error {
	for _, c := range r.found {
		var err error
		if !c.headerOK {
			c.blank, err = isBlank(c)
			if err != nil {
				return err
			}
			continue
		}
		sum, ok, err := readFooter(c.file, c.header, c.fileSize)
		if err != nil {
			return fmt.Errorf("read footer of %s: %w", c.path, err)
		}
		if ok {
			c.summary, c.size, c.rolled = sum, c.fileSize, true
			continue
		}
		r.Scanned++
		if c.scan, err = scanSegment(ctx, c.segment, c.fileSize); err != nil {
			return err
		}
	}
	return nil
}

func isBlank(c *candidate) (bool, error) {
	w := window{r: c.file, size: c.fileSize}
	for pos := int64(headerSize); pos < c.fileSize; pos += scanChunk {
		b, err := w.at(pos, scanChunk)
		if err != nil {
			return false, fmt.Errorf("read %s: %w", c.path, err)
		}
		if indexNonZero(b) >= 0 {
			return false, nil
		}
	}
	return true, nil
}

// scanSegment walks the first size bytes of a segment.
func scanSegment(ctx context.Context, s *segment, size int64) (*scanned, error) {
	sc := newScanner(s.file, s.header, size)
	out := &scanned{end: headerSize}
	for n := 0; ; n++ {
		if n&0xff == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		f, g, err := sc.next()
		switch {
		case err != nil:
			return nil, fmt.Errorf("scan %s: %w", s.path, err)
		case g != nil:
			out.gaps = append(out.gaps, *g)
		case f == nil:
			return out, nil
		default:
			out.take(s.id, f)
		}
	}
}

func (o *scanned) take(s id.Segment, f *frame) {
	o.synced = max(o.synced, f.synced)
	o.end = f.end()
	if f.kind == frameFooter {
		if o.footer == 0 {
			o.footer = f.position
		}
		return
	}
	o.entries = append(o.entries, located{f.partition, entryOf(s, f.position, f.batch)})
}

// settleAll decides, from the newest segment back, what is kept and what is cut.
// A segment behind which another has frames was durable as a whole.
func (r *recovery) settleAll() error {
	later := false
	for i := len(r.found) - 1; i >= 0; i-- {
		c := r.found[i]
		keep := c.rolled
		var err error
		switch {
		case c.rolled:
		case !c.headerOK:
			keep = false
			err = r.settleHeadless(c, later)
		default:
			keep, err = r.settle(c, later)
		}
		if err != nil {
			return err
		}
		if keep {
			later = later || c.entries > 0
			continue
		}
		r.found = append(r.found[:i], r.found[i+1:]...)
	}
	return nil
}

// settleHeadless removes a file that was being created, and leaves any other alone.
func (r *recovery) settleHeadless(c *candidate, later bool) error {
	if c.blank && !later {
		return r.j.discard(c.segment)
	}
	r.corrupt(c.segment, 0, c.fileSize, "the segment header is damaged in both copies; nothing in the file can be checked")
	return c.release()
}

// settle finishes a segment that was not rolled.
func (r *recovery) settle(c *candidate, later bool) (keep bool, err error) {
	durable := c.scan.synced
	if later {
		durable = c.fileSize
	}
	end := r.judge(c, durable, later)
	kept := c.scan.entries
	for len(kept) > 0 && kept[len(kept)-1].Pos >= end {
		kept = kept[:len(kept)-1]
	}
	if len(kept) == 0 && len(c.damage) == 0 {
		return false, r.j.discard(c.segment)
	}
	c.summary = summarize(kept)
	r.scans[c.segment] = kept
	c.size, c.rolled = end, true
	if later {
		return true, nil // damaged and already followed by others: left as it is
	}
	if c.fileSize > end {
		if err := c.file.Truncate(end); err != nil {
			return true, fmt.Errorf("cut %s at %d: %w", c.path, end, err)
		}
		if err := c.file.Sync(); err != nil {
			return true, fmt.Errorf("sync %s: %w", c.path, err)
		}
	}
	if len(c.damage) > 0 {
		return true, nil // never gets a footer: it is read, and the damage reported, at every start
	}
	c.size, err = writeFooter(c.segment, c.summary, end, end)
	return true, err
}

// judge tells damage to durable bytes, which is noted, from a torn tail, and returns
// the position at which the segment ends.
func (r *recovery) judge(c *candidate, durable int64, later bool) (end int64) {
	end = c.scan.end
	if c.scan.footer > 0 {
		end = c.scan.footer
	}
	for _, g := range c.scan.gaps {
		switch {
		case g.zero && g.to == c.fileSize && !later:
			return min(end, g.from) // preallocated and never written
		case g.from < durable:
			r.corrupt(c.segment, g.from, g.to-g.from, g.describe())
		case g.from < c.scan.footer || c.scan.footer == 0:
			r.cut(c, g.from, "torn write at the end: "+g.describe())
			return g.from
		}
	}
	if later && len(c.damage) == 0 {
		r.corrupt(c.segment, end, c.fileSize-end, "the footer is missing")
	}
	return end
}

// describe names what a gap takes away.
func (g *gap) describe() string {
	if g.known && g.header.kind == frameBatch {
		return fmt.Sprintf("batch of %s at offset %d: %s", g.header.partition, g.frame.Base, g.what)
	}
	return g.what
}

func (r *recovery) corrupt(s *segment, pos, length int64, what string) {
	d := Damage{Segment: s.id, Path: s.path, Position: pos, Length: length, What: what}
	s.damage = append(s.damage, d)
	r.Corrupt = append(r.Corrupt, d)
	r.j.cfg.Logger.Error("hot segment is damaged", "segment", s.path, "position", pos, "bytes", length, "what", what)
}

func (r *recovery) cut(c *candidate, pos int64, what string) {
	d := Damage{Segment: c.id, Path: c.path, Position: pos, Length: c.written() - pos, What: what}
	r.Cut = append(r.Cut, d)
	r.j.cfg.Logger.Warn("cut the torn end of a hot segment", "segment", c.path, "position", pos, "bytes", d.Length, "what", what)
}

// written is the end of what is not preallocated zeros.
func (c *candidate) written() int64 {
	if n := len(c.scan.gaps); n > 0 {
		if g := c.scan.gaps[n-1]; g.to == c.fileSize && g.zero {
			return g.from
		}
	}
	return c.fileSize
}

// summarize computes what a footer would say of these entries.
func summarize(entries []located) summary {
	var s summary
	at := map[id.Partition]int{}
	for _, e := range entries {
		i, ok := at[e.p]
		if !ok {
			i = len(s.extents)
			at[e.p] = i
			s.extents = append(s.extents, newExtent(e.p, e.Entry))
		}
		s.add(i, e.p, e.Entry)
	}
	s.sort()
	return s
}

// list makes the recovered segments the journal's.
func (r *recovery) list() {
	j := r.j
	for _, c := range r.found {
		j.segments = append(j.segments, c.segment)
		r.Bytes += c.size
		r.Batches += int64(c.entries)
		for _, x := range c.extents {
			t := j.parts[x.p]
			if t == nil {
				t = &part{p: x.p, start: x.First}
				j.parts[x.p] = t
			}
			t.next = max(t.next, x.Next)
		}
		j.written = Position{c.id, c.size}
	}
	j.durable, j.end = j.written, j.written
	r.Segments, r.Partitions = len(j.segments), len(j.parts)
}

// firstSegment creates the segment that takes appends. Without space for it the
// journal opens all the same, so that what it holds can be read and sealed.
func (r *recovery) firstSegment() error {
	j := r.j
	j.want = j.cfg.SegmentBytes
	j.prepare()
	switch {
	case j.failed != nil:
		return j.failed
	case j.next != nil:
		j.promote()
	case !errors.Is(j.noSpace, ErrFull):
		return j.noSpace
	}
	return nil
}
