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

// maxIndex bounds an index, in bytes. A stream is sealed and released long before.
const maxIndex = 256 << 20

// readers is how many footers ReadStream reads at once.
const readers = 32

// readAttempts is how often a stream is read of which something is gone: what was
// released between a look at the slots and one at an object is no longer in the slots.
const readAttempts = 3

// ReadStream returns the objects that slots up to through commit and that are not
// released, in order: the newest index of the stream says what is in most of them, and
// the footers of the rest are read by footer. What is released meanwhile is left out. It
// fails with ErrCorrupt or ErrVersion, and with ErrCorrupt also when a slot is missing.
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
		g.Go(func() (err error) {
			o := &list[i]
			if e, ok := known[o.Name]; ok {
				o.Footer, err = e.footer()
			} else {
				o.Footer, err = footer(ctx, o.Name, o.Size)
			}
			if err != nil {
				return fmt.Errorf("read stream at slot %d: %w", o.Seq, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return list, nil
}

// listStream reads the slots from the first that is not released up to through. The index is
// the newest there is, of whatever slot: that of a slot up to through may be gone when a
// session lives on.
func listStream(ctx context.Context, slots *slotlog.Log, through uint64) (list []Object, index *ObjectRef, err error) {
	first, err := slots.First(ctx)
	if err != nil {
		return nil, nil, err
	}
	if through < firstSlot || first > through {
		return nil, nil, nil
	}
	first = max(first, firstSlot)
	raw, err := slots.Read(ctx, first, 0)
	if err != nil {
		return nil, nil, err
	}
	for i, r := range raw {
		if want := first + uint64(i); r.Seq != want && want <= through {
			return nil, nil, fmt.Errorf("slot %d: %w: it is missing", want, ErrCorrupt)
		}
		s, err := DecodeSlot(r.Payload)
		if err != nil {
			return nil, nil, fmt.Errorf("slot %d: %w", r.Seq, err)
		}
		if s.Index != nil {
			index = s.Index
		}
		for _, ref := range s.Objects {
			if r.Seq <= through {
				list = append(list, Object{ObjectRef: ref, Seq: r.Seq})
			}
		}
	}
	if end := first + uint64(len(raw)); end <= through {
		return nil, nil, fmt.Errorf("slot %d: %w: it is missing", end, ErrCorrupt)
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
