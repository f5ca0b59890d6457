// Package survey tells what there is of partitions from the stores alone: chains, and the streams of sessions
// behind them. It needs no broker, and is as true while brokers run: what it finds was committed, and whatever
// was committed before it looked it finds. What brokers with local durability have not sealed it cannot see.
//
// It owns nothing but its settings and writes nothing. A Reader is safe for concurrent use, and a View is
// what was found at one moment, for one goroutine or several that only read.
package survey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/wal"
)

// Reader looks at the stores of a cluster. All fields are needed.
type Reader struct {
	Table   kv.Store       // the control table
	Objects objstore.Store // packs and WAL objects
	Cold    *cold.Reader   // of Objects
}

// readers is how many streams, or chains, are read at once.
const readers = 32

// Position is how far a partition reaches.
type Position struct {
	Start  id.Offset // log start
	Sealed id.Offset // end of what is in packs
	End    id.Offset // end of what is committed
	WAL    int64     // bytes of batches that are committed and not sealed
	Unseen int64     // offsets up to End that the stores do not have: see Extend
}

// View is what a Look has found.
type View struct {
	reader    *Reader
	positions map[id.Partition]Position
	pieces    map[id.Partition][]piece // behind the chains, in order
}

// piece is a run of a partition in a WAL object.
type piece struct {
	object wal.ObjectRef
	run    *pack.Run
}

// Look finds out how far partitions reach. Those that img does not know are left out.
func (r *Reader) Look(ctx context.Context, img *metalog.Image, ps []id.Partition) (*View, error) {
	v := &View{reader: r, positions: make(map[id.Partition]Position, len(ps)), pieces: map[id.Partition][]piece{}}
	ps = slices.DeleteFunc(slices.Clone(ps), func(p id.Partition) bool { _, ok := img.Partition(p); return !ok })
	// The streams before the chains: what is released of a stream between the two is in the chain.
	streams, err := r.streams(ctx, img, ps)
	if err != nil {
		return nil, err
	}
	for i, tail := range chain.Open(r.Table).Ends(ctx, ps) {
		if tail.Err != nil {
			return nil, tail.Err
		}
		p := ps[i]
		state, _ := img.Partition(p)
		v.place(img, p, state, max(tail.End, state.Start), streams)
	}
	return v, nil
}

// place works out one position.
func (v *View) place(img *metalog.Image, p id.Partition, state metalog.PartitionState, sealed id.Offset, streams map[id.Session][]wal.Object) {
	at := Position{Start: state.Start, Sealed: sealed, End: sealed}
	var pieces []piece
	for session, through := range sources(img, state) {
		for _, o := range streams[session] {
			if o.Seq > through {
				break
			}
			if run, ok := o.Footer.Run(p); ok && run.Next > sealed {
				pieces = append(pieces, piece{o.ObjectRef, run})
				at.End = max(at.End, run.Next)
			}
		}
	}
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.run.Base, b.run.Base) })
	for _, piece := range pieces {
		at.WAL += within(piece.run, sealed)
	}
	v.positions[p], v.pieces[p] = at, pieces
}

// within is about how many bytes of a run are at or above from.
func within(r *pack.Run, from id.Offset) int64 {
	if r.Base >= from {
		return r.Length
	}
	return int64(float64(r.Length) * float64(r.Next-from) / float64(r.Next-r.Base))
}

// unbounded stands for the last slot of a stream that its session may still write.
const unbounded = ^uint64(0)

// sources are the sessions in whose streams a partition may have records, each with the last slot that counts.
func sources(img *metalog.Image, state metalog.PartitionState) map[id.Session]uint64 {
	found := make(map[id.Session]uint64, len(state.Tails)+1)
	for _, t := range state.Tails {
		found[t.Session] = max(found[t.Session], t.Through)
	}
	if leader, ok := img.Broker(state.Leader); ok && leader.Incarnation != "" {
		found[leader.Incarnation] = unbounded
	}
	return found
}

// streams reads the streams that partitions may have records in.
func (r *Reader) streams(ctx context.Context, img *metalog.Image, ps []id.Partition) (map[id.Session][]wal.Object, error) {
	wanted := map[id.Session]bool{}
	for _, p := range ps {
		state, _ := img.Partition(p)
		for session := range sources(img, state) {
			wanted[session] = true
		}
	}
	streams := make(map[id.Session][]wal.Object, len(wanted))
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for session := range wanted {
		g.Go(func() error {
			objects, err := r.stream(ctx, session)
			if err != nil {
				return fmt.Errorf("read the stream of session %s: %w", session, err)
			}
			mu.Lock()
			defer mu.Unlock()
			streams[session] = objects
			return nil
		})
	}
	return streams, g.Wait()
}

// stream reads what is committed and not released of a stream.
func (r *Reader) stream(ctx context.Context, session id.Session) ([]wal.Object, error) {
	slots := wal.Slots(r.Table, session)
	last, ok, err := slots.Last(ctx)
	if err != nil || !ok {
		return nil, err
	}
	slot, err := wal.DecodeSlot(last.Payload)
	if err != nil {
		return nil, err
	}
	through := last.Seq
	if slot.Fence != nil {
		through--
	}
	return wal.ReadStream(ctx, slots, r.Objects, through, r.Cold.Footer)
}

// Of returns how far a partition reaches; false if Look has left it out.
func (v *View) Of(p id.Partition) (Position, bool) {
	at, ok := v.positions[p]
	return at, ok
}

// Extend takes it from the leader of a partition, which knows better, that records up to end are committed: those
// that only a broker's disk has.
func (v *View) Extend(p id.Partition, end id.Offset) {
	if at, ok := v.positions[p]; ok && end > at.End {
		at.End, at.Unseen = end, at.Unseen+int64(end-at.End)
		v.positions[p] = at
	}
}

// ErrBeyond says that the partition has no such offset.
var ErrBeyond = errors.New("offset out of range")

// parallel calls f with each number below n, readers at a time.
func parallel(n int, f func(i int)) {
	var g errgroup.Group
	g.SetLimit(readers)
	for i := range n {
		g.Go(func() error { f(i); return nil })
	}
	_ = g.Wait() // f keeps its own errors
}
