package takeover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/wal"
)

// Sweeper releases the streams of sessions that are over.
type Sweeper struct {
	Table   kv.Store // the control table
	Chains  *chain.Store
	Meta    *metalog.Log
	Objects objstore.Store // of WAL objects
	Footer  func(ctx context.Context, object string, size int64) (*pack.Footer, error)
	Self    id.Broker // who fences; metalog.NoBroker: a function
}

// StreamTime bounds an attempt to read a stream.
const StreamTime = 30 * time.Second

// Over lists the streams of sessions that are over.
func Over(img *metalog.Image) (over []metalog.Stream) {
	for _, s := range img.Streams() {
		if node, ok := img.Broker(s.Node); !ok || node.Incarnation != s.Session || node.Fenced {
			over = append(over, s)
		}
	}
	return over
}

// Sweep releases what is sealed of the streams of sessions that are over, and forgets those of which nothing
// is left; it returns how many. What fails for one stream does not keep the others.
func (s *Sweeper) Sweep(ctx context.Context) (released int, err error) {
	var errs []error
	for _, over := range Over(s.Meta.Image()) {
		gone, err := s.release(ctx, over.Session)
		if err != nil {
			errs = append(errs, fmt.Errorf("release the stream of session %s of broker %d: %w", over.Session, over.Node, err))
		}
		if gone {
			released++
		}
	}
	return released, errors.Join(errs...)
}

// release reports whether nothing is left of the stream.
func (s *Sweeper) release(ctx context.Context, session id.Session) (gone bool, err error) {
	slots := wal.Slots(s.Table, session)
	through, err := wal.Fence(ctx, slots, s.Self)
	if err != nil {
		return false, err
	}
	objects, err := s.read(ctx, session, through)
	if err != nil {
		return false, err
	}
	ends := map[id.Partition]id.Offset{}
	gone, err = wal.ReleaseStream(ctx, slots, s.Objects, session, objects, UnlessDeleted(s.Meta, func(ctx context.Context, p id.Partition) (id.Offset, error) {
		end, known := ends[p]
		if known {
			return end, nil
		}
		end, _, _, err := s.Chains.End(ctx, p)
		ends[p] = end
		return end, err
	}))
	if err != nil || !gone {
		return false, err
	}
	_, err = s.Meta.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
		if _, ok := img.Stream(session); !ok {
			return nil, nil
		}
		return []metalog.Record{metalog.StreamsReleased{Sessions: []id.Session{session}}}, nil
	})
	return err == nil, err
}

func (s *Sweeper) read(ctx context.Context, session id.Session, through uint64) ([]wal.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, StreamTime)
	defer cancel()
	return wal.ReadStream(ctx, wal.Slots(s.Table, session), s.Objects, through, s.Footer)
}

// UnlessDeleted is sealed for partitions that exist; of others everything may go.
func UnlessDeleted(meta *metalog.Log, sealed wal.Sealed) wal.Sealed {
	return func(ctx context.Context, p id.Partition) (id.Offset, error) {
		if _, ok := meta.Image().Partition(p); !ok {
			return wal.Everything, nil
		}
		return sealed(ctx, p)
	}
}
