package seal

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/journal"
)

// Sizes of the gathering, in bytes.
const (
	// smallFill is how much is read at a time of batches so large that they are worth a
	// system call each: little, so that it is still in the processor's cache when it is
	// checked and written.
	smallFill = 1 << 20
	// largeFill is how much is read of smaller ones, so that some are neighbours.
	largeFill = 12 << 20
	// largeBatch is the average size of a batch from which on smallFill is the choice.
	largeBatch = 16 << 10
	// maxGap is what is read along, and thrown away, to save a system call. The memory
	// for all gaps is a third of that for the batches.
	maxGap = 8 << 10
	// forBlocks is the part of what is read, 1/forBlocks, that widening large reads to whole
	// blocks takes at the most.
	forBlocks = 5
	// frameHeaderSize is what stands before a batch in a hot segment.
	frameHeaderSize = journal.FrameHeaderSize
)

// gatherer reads batches from hot segments, few large reads at a time. It goes to
// the files past the journal, which would read batch by batch, and falls back on
// the journal for what does not come out right.
type gatherer struct {
	fs      vfs.FS
	journal Journal
	paths   map[id.Segment]string
	files   map[id.Segment]vfs.File
	arena   []byte
	order   []int32
}

func newGatherer(fs vfs.FS, j Journal) *gatherer {
	return &gatherer{fs: fs, journal: j, files: map[id.Segment]vfs.File{}}
}

// see tells the gatherer where the segments are.
func (g *gatherer) see(segs []journal.SegmentInfo) {
	g.paths = make(map[id.Segment]string, len(segs))
	for _, seg := range segs {
		g.paths[seg.ID] = seg.Path
	}
}

// close closes the files; the memory goes with the gatherer.
func (g *gatherer) close() {
	for _, f := range g.files {
		f.Close()
	}
	clear(g.files)
}

// fill implements source.
func (g *gatherer) fill(pl *plan) int64 {
	if pl.bytes/int64(pl.batches) >= largeBatch {
		return smallFill
	}
	return largeFill
}

// load implements source: each piece then has its bytes, unchecked, or an error.
func (g *gatherer) load(_ context.Context, pieces []piece) {
	g.order = g.order[:0]
	var useful int64
	for i := range pieces {
		g.order = append(g.order, int32(i))
		useful += pieces[i].length
	}
	slices.SortFunc(g.order, func(a, b int32) int { return byPlace(pieces[a].item, pieces[b].item) })
	if need := useful + useful/forBlocks; int64(len(g.arena)) < need {
		g.arena = make([]byte, need+useful/3)
	}
	spare := int64(len(g.arena)) - useful - useful/forBlocks
	var used int64
	for i := 0; i < len(g.order); {
		first := pieces[g.order[i]].item
		start, end := first.pos+frameHeaderSize, first.pos+frameHeaderSize+first.length
		n := i + 1
		for ; n < len(g.order); n++ {
			next := pieces[g.order[n]].item
			gap := next.pos + frameHeaderSize - end
			if next.segment != first.segment || gap < 0 || gap > min(maxGap, spare) {
				break
			}
			spare -= gap
			end += gap + next.length
		}
		lo, hi := vfs.Span(start, end-start)
		if lo != start || hi != end {
			used = (used + vfs.BlockSize - 1) &^ (vfs.BlockSize - 1)
		}
		raw := g.arena[used : used+hi-lo]
		used += hi - lo
		err := g.read(first.segment, raw, lo, end-lo)
		raw = raw[start-lo : end-lo]
		for _, at := range g.order[i:n] {
			pc := &pieces[at]
			off := pc.pos + frameHeaderSize - start
			pc.raw, pc.err = raw[off:off+pc.length:off+pc.length], err
		}
		i = n
	}
}

// read fills b from off on, with least bytes at the least: the file may end behind them.
func (g *gatherer) read(seg id.Segment, b []byte, off, least int64) error {
	f, ok := g.files[seg]
	if !ok {
		var err error
		if f, err = g.fs.OpenFile(g.paths[seg], os.O_RDONLY|vfs.Direct, 0); err != nil {
			return err
		}
		g.files[seg] = f
		if least < largeBatch*4 {
			if size, err := f.Size(); err == nil {
				vfs.WillNeed(f, 0, size)
			}
		}
	}
	if n, err := f.ReadAt(b, off); int64(n) < least {
		return fmt.Errorf("read %d bytes at %d of hot segment %s: %w", least, off, seg, err)
	}
	return nil
}

// view implements source: it checks what was read for pc, and goes to the journal if that
// does not come out right.
func (g *gatherer) view(pc *piece) (batch.View, error) {
	v, err := batch.View(nil), pc.err
	if err == nil {
		v, err = pc.parse(pc.raw)
	}
	if err != nil {
		v, err = g.journal.Batch(pc.p, journal.Entry{
			Base: pc.base, Next: pc.next, Epoch: pc.epoch, Segment: pc.segment, Pos: pc.pos, Length: int32(pc.length),
		})
		if err == nil {
			v, err = pc.parse(v)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the hot batch of %s at offset %d: %w", pc.p, pc.base, err)
	}
	pc.base = pc.next
	return v, nil
}

// parse holds raw to the index, which knows what the batch's checksum leaves out.
func (pc *piece) parse(raw []byte) (batch.View, error) {
	v, rest, err := batch.Parse(raw)
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 || v.BaseOffset() != pc.base || v.NextOffset() != pc.next || v.LeaderEpoch() != pc.epoch {
		return nil, fmt.Errorf("%w: %d bytes, offsets %d to %d, epoch %d; the index says %d, %d to %d, %d", batch.ErrCorrupt,
			v.Length(), v.BaseOffset(), v.NextOffset(), v.LeaderEpoch(), pc.length, pc.base, pc.next, pc.epoch)
	}
	return v, v.Verify()
}
