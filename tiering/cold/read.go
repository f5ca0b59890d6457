package cold

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"sort"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
)

// source names what is read, in reads and in their errors.
type source struct {
	p   id.Partition
	seg chain.Segment
}

func (s source) corrupt(pos int64, err error) error {
	return fmt.Errorf("%w: object %s, position %d, run of %s: %w", ErrCorrupt, s.seg.Object, pos, s.p, err)
}

type chunkKey struct {
	object string
	size   int64
	index  int64
}

// Read returns whole batches of segment seg of p, a slice for each: first the one
// that holds from or else follows it, then more while all their offsets lie below
// limit and the sum of their sizes within maxBytes; the first even if it is larger.
// It returns none if from lies behind the segment or its last batch, if the segment is empty, or
// if the first is not below limit. It fails with ErrCorrupt, which names object and position, with objstore.ErrNotFound,
// the object store's errors, and ctx's.
func (r *Reader) Read(
	ctx context.Context, p id.Partition, seg chain.Segment, from, limit id.Offset, maxBytes int,
) ([][]byte, error) {
	var batches [][]byte
	left := maxBytes
	fits := func(h batch.View) bool {
		return h.NextOffset() <= limit && (len(batches) == 0 || h.Length() <= left)
	}
	for v, err := range r.scan(ctx, source{p, seg}, from, fits) {
		if err != nil {
			if len(batches) > 0 {
				return batches, nil // the read of what follows meets the error, if it lasts
			}
			return nil, err
		}
		batches = append(batches, v)
		left -= len(v)
	}
	return batches, nil
}

// Batches yields the batches of segment seg of p, from the one that holds from, or
// else follows it, to the end of the segment, each verified. It stops after an
// error; these are as Read's.
func (r *Reader) Batches(ctx context.Context, p id.Partition, seg chain.Segment, from id.Offset) iter.Seq2[batch.View, error] {
	return r.scan(ctx, source{p, seg}, from, func(batch.View) bool { return true })
}

// scan yields batches from the one that holds from on, as long as fits accepts
// their headers.
func (r *Reader) scan(
	ctx context.Context, src source, from id.Offset, fits func(header batch.View) bool,
) iter.Seq2[batch.View, error] {
	return func(yield func(batch.View, error) bool) {
		if from >= src.seg.Next || src.seg.Empty() {
			return
		}
		run, err := r.runOf(ctx, src)
		if err != nil {
			yield(nil, err)
			return
		}
		start := run.Find(from)
		c := cursor{r: r, src: src, run: run, pos: start.Pos, next: start.Offset}
		for c.pos < run.Pos+run.Length {
			v, err := c.step(ctx, from, fits)
			if err == nil && v == nil {
				if c.stop {
					return
				}
				continue
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
		if c.next != run.Next && !run.Sparse {
			yield(nil, src.corrupt(c.pos, fmt.Errorf("the run ends at offset %d, want %d", c.next, run.Next)))
		}
	}
}

// cursor walks the batches of a run.
type cursor struct {
	r    *Reader
	src  source
	run  *pack.Run
	pos  int64     // of the next batch, in the object
	next id.Offset // its base offset; of a sparse run the least that it may have
	stop bool      // a header did not fit
	told int64     // up to where a sparse run's heads were found right

	last      []byte // the chunk used last
	lastIndex int64
}

// step goes past one batch and returns it, or none if it lies below from or, with
// stop set, does not fit. A damaged batch is fetched once more.
func (c *cursor) step(ctx context.Context, from id.Offset, fits func(batch.View) bool) (batch.View, error) {
	v, err := c.try(ctx, from, fits)
	if err == nil || !errors.Is(err, ErrCorrupt) {
		return v, err
	}
	c.r.corrupt.Add(1)
	c.r.cfg.Logger.Warn("damaged batch, fetching it again", "error", err)
	c.forgetFrom(c.pos)
	return c.try(ctx, from, fits)
}

func (c *cursor) try(ctx context.Context, from id.Offset, fits func(batch.View) bool) (batch.View, error) {
	if c.run.Sparse && c.pos >= c.told {
		if err := c.checkHeads(ctx); err != nil {
			return nil, err
		}
	}
	left := c.run.Pos + c.run.Length - c.pos
	raw, err := c.bytes(ctx, c.pos, min(batch.HeaderSize, left))
	if err != nil {
		return nil, err
	}
	header, err := c.checkHeader(raw, left)
	if err != nil {
		return nil, c.src.corrupt(c.pos, err)
	}
	n := int64(header.Length())
	if header.NextOffset() <= from {
		c.pos, c.next = c.pos+n, header.NextOffset()
		return nil, nil
	}
	if !fits(header) {
		c.stop = true
		return nil, nil
	}
	if raw, err = c.bytes(ctx, c.pos, n); err != nil {
		return nil, err
	}
	v, _, err := batch.Parse(raw)
	if err == nil {
		err = v.Verify()
	}
	if err != nil {
		return nil, c.src.corrupt(c.pos, err)
	}
	c.pos, c.next = c.pos+n, v.NextOffset()
	return v, nil
}

// checkHeader holds a header to what the footer and the batch before say of it:
// the batch's own checksum covers neither offset nor epoch nor length.
func (c *cursor) checkHeader(raw []byte, left int64) (batch.View, error) {
	h, err := batch.ParseHeader(raw)
	switch {
	case err != nil:
		return nil, err
	case int64(h.Length()) > left:
		return nil, fmt.Errorf("batch of %d bytes with %d left in the run", h.Length(), left)
	case h.BaseOffset() < c.next || h.BaseOffset() > c.next && !c.run.Sparse:
		return nil, fmt.Errorf("batch at offset %d, want %d", h.BaseOffset(), c.next)
	case h.NextOffset() > c.run.Next:
		return nil, fmt.Errorf("batch up to offset %d in a run up to %d", h.NextOffset(), c.run.Next)
	case h.LeaderEpoch() != c.run.EpochAt(h.BaseOffset()):
		return nil, fmt.Errorf("batch of leader epoch %d, want %d", h.LeaderEpoch(), c.run.EpochAt(h.BaseOffset()))
	}
	return h, nil
}

// checkHeads holds the heads of a sparse run's batches, from c.pos, where an index entry
// is, to the next one, to their checksum in the footer. Without gaps the batches around one tell where it
// belongs; here nothing else does.
func (c *cursor) checkHeads(ctx context.Context) error {
	i := sort.Search(len(c.run.Index), func(i int) bool { return c.run.Index[i].Pos > c.pos })
	end := c.run.Pos + c.run.Length
	if i < len(c.run.Index) {
		end = c.run.Index[i].Pos
	}
	sum := uint32(0)
	for pos := c.pos; pos < end; {
		raw, err := c.bytes(ctx, pos, min(batch.HeaderSize, end-pos))
		if err != nil {
			return err
		}
		h, err := batch.ParseHeader(raw)
		if err != nil {
			return c.src.corrupt(pos, err)
		}
		sum = crc32.Update(sum, castagnoli, h[:pack.HeadSize])
		pos += int64(h.Length())
	}
	if want := c.run.Heads[i-1]; sum != want {
		return c.src.corrupt(c.pos, fmt.Errorf("the heads of the batches have the checksum %08x, want %08x", sum, want))
	}
	c.told = end
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bytes returns n bytes at pos: a part of a chunk if they lie within one, else a copy.
func (c *cursor) bytes(ctx context.Context, pos, n int64) ([]byte, error) {
	size := c.r.cfg.ChunkBytes
	first, last := pos/size, (pos+n-1)/size
	if first == last {
		chunk, err := c.chunk(ctx, first)
		if err != nil {
			return nil, err
		}
		at := pos - first*size
		return chunk[at : at+n : at+n], nil
	}
	var b []byte
	for i := first; i <= last; i++ {
		chunk, err := c.chunk(ctx, i)
		if err != nil {
			return nil, err
		}
		if b == nil {
			b = make([]byte, 0, n)
		}
		lo := max(pos-i*size, 0)
		hi := min(pos+n-i*size, int64(len(chunk)))
		b = append(b, chunk[lo:hi]...)
	}
	return b, nil
}

// chunk returns a chunk of the object and sees to those that follow if the run
// is read in sequence.
func (c *cursor) chunk(ctx context.Context, index int64) ([]byte, error) {
	if c.last != nil && c.lastIndex == index {
		return c.last, nil
	}
	seg, size := c.src.seg, c.r.cfg.ChunkBytes
	if c.r.trail.note(step{seg.Object, seg.Pos, index}) {
		end := (seg.Pos + seg.Length - 1) / size
		for i := index + 1; i <= min(end, index+int64(c.r.cfg.ReadAhead)); i++ {
			c.r.chunks.prefetch(chunkKey{seg.Object, seg.ObjectSize, i}, size)
		}
	}
	b, err := c.r.chunks.get(ctx, chunkKey{seg.Object, seg.ObjectSize, index})
	if err != nil {
		return nil, fmt.Errorf("read sealed offsets %d to %d of %s: %w", seg.Base, seg.Next, c.src.p, err)
	}
	c.last, c.lastIndex = b, index
	return b, nil
}

// forgetFrom drops the chunks from pos on that the rest of the run lies in: how
// long a damaged batch is, is not known.
func (c *cursor) forgetFrom(pos int64) {
	c.last = nil
	size := c.r.cfg.ChunkBytes
	for i := pos / size; i*size < c.run.Pos+c.run.Length; i++ {
		c.r.chunks.forget(chunkKey{c.src.seg.Object, c.src.seg.ObjectSize, i})
	}
}
