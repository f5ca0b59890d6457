package wal

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/slotlog"
	"github.com/forebaylog/forebay/tiering/pack"
)

// Object is a committed object of a stream.
type Object struct {
	ObjectRef
	Seq    uint64 // of its slot
	Footer *pack.Footer
}

// maxIndex bounds an index, in bytes.
const maxIndex = 1 << 30

// readers is how many footers ReadStream reads at once.
const readers = 32

// readAttempts is how often a stream is read of which something is gone: what was
// released between a look at the slots and one at an object is no longer in the slots.
const readAttempts = 3

// ReadStream returns the objects that slots up to through commit and that are not
// released, in order: the newest index at or below it says what is in most of them, and
// the footers of the rest are read by footer. What is released meanwhile is left out.
func ReadStream(
	ctx context.Context, slots *slotlog.Log, objects objstore.Store, through uint64,
	footer func(ctx context.Context, object string, size int64) (*pack.Footer, error),
) ([]Object, error) {
	for attempt := 1; ; attempt++ {
		found, err := readStream(ctx, slots, objects, through, footer)
		gone := errors.Is(err, objstore.ErrNotFound) || errors.Is(err, slotlog.ErrTruncated)
		if !gone || attempt == readAttempts {
			return found, err
		}
	}
}

func readStream(
	ctx context.Context, slots *slotlog.Log, objects objstore.Store, through uint64,
	footer func(ctx context.Context, object string, size int64) (*pack.Footer, error),
) ([]Object, error) {
	list, index, err := listStream(ctx, slots, through)
	if err != nil {
		return nil, fmt.Errorf("read stream: %w", err)
	}
	known := map[string]indexed{}
	if index != nil {
		entries, err := readIndex(ctx, objects, *index)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			known[e.ref.Name] = e
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i := range list {
		o := &list[i]
		if e, ok := known[o.Name]; ok {
			if o.Footer, err = e.footer(); err != nil {
				return nil, fmt.Errorf("read stream at slot %d: %w", o.Seq, err)
			}
			continue
		}
		g.Go(func() (err error) {
			if o.Footer, err = footer(ctx, o.Name, o.Size); err != nil {
				return fmt.Errorf("read stream at slot %d: %w", o.Seq, err)
			}
			return nil
		})
	}
	return list, g.Wait()
}

// listStream reads the slots from the first that is not released up to through.
func listStream(ctx context.Context, slots *slotlog.Log, through uint64) (list []Object, index *ObjectRef, err error) {
	first, err := slots.First(ctx)
	if err != nil {
		return nil, nil, err
	}
	if through < firstSlot || first > through {
		return nil, nil, nil
	}
	raw, err := slots.Read(ctx, max(first, firstSlot), 0)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range raw {
		if r.Seq > through {
			break
		}
		s, err := DecodeSlot(r.Payload)
		if err != nil {
			return nil, nil, fmt.Errorf("slot %d: %w", r.Seq, err)
		}
		for _, ref := range s.Objects {
			list = append(list, Object{ObjectRef: ref, Seq: r.Seq})
		}
		if s.Index != nil {
			index = s.Index
		}
	}
	return list, index, nil
}

func readIndex(ctx context.Context, objects objstore.Store, ref ObjectRef) ([]indexed, error) {
	if ref.Size < 0 || ref.Size > maxIndex {
		return nil, fmt.Errorf("read stream index %s: %w: %d bytes", ref.Name, ErrCorrupt, ref.Size)
	}
	b := make([]byte, ref.Size)
	if n, err := objects.ReadAt(ctx, ref.Name, b, 0); n != len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: %d bytes of %d", ErrCorrupt, n, len(b))
		}
		return nil, fmt.Errorf("read stream index %s: %w", ref.Name, err)
	}
	entries, err := decodeIndex(b)
	if err != nil {
		return nil, fmt.Errorf("read stream index %s: %w", ref.Name, err)
	}
	return entries, nil
}
