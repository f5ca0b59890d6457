// Package chain owns each partition's sealed chain: a row of table items, one for
// each segment of the log that lies in the object store, keyed by its base offset
// and starting where the one before ended. What a chain names is sealed; what it
// does not name is not, whatever objects exist.
//
// Appending one item is the commit point of sealing. A crash before it leaves an
// object in no chain, an orphan; a crash after it leaves a sealed segment. Since
// an item is only written where none is, at the end of the chain, two sealers
// never overlap: one of them gets ErrTaken and starts again from the new end.
//
// Replacing segments by one that has their offsets, merged or compacted, is a write of one
// item too, the first of them; the others are spare then: see Replace and Canonical.
//
// The last item of a chain must never be deleted while the partition lives, for it says
// where the chain goes on. Nor may an item go while a sealer may still take its base for
// the end, or a rewriter build on it: all who look at a chain in order to change it do so
// within a time that is bounded, and items go later than that (package collect).
// The package reads no objects, but for Verify, keeps nothing in memory and leaves
// no goroutine behind. A Store is safe for concurrent use, also with others,
// elsewhere, on the same table.
package chain

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Errors of this package.
var (
	// ErrTaken: the chain has gone past the link's base. Start again from its end.
	ErrTaken = errors.New("chain position taken")
	// ErrGap: the link starts above the end of the chain.
	ErrGap = errors.New("link leaves a gap in the chain")
	// ErrNotSealed: no segment of the chain holds the offset.
	ErrNotSealed = errors.New("offset not sealed")
	// ErrCorrupt: an item of the table is damaged.
	ErrCorrupt = errors.New("chain item corrupt")
	// ErrVersion: an item was written in a version that this program does not read.
	ErrVersion = errors.New("chain item version unknown")
	// ErrInvalid: the segment contradicts itself.
	ErrInvalid = errors.New("invalid segment")
)

// Link is a segment to be appended to a partition's chain.
type Link struct {
	Partition id.Partition
	Segment   Segment
	// AtEnd: the chain ended at the segment's base when the caller last read it or
	// appended to it; Append need not ask. Never set it on a guess: below the end, but
	// where no item is, it would break the chain.
	AtEnd bool
}

// Store is the chains of all partitions in one table.
type Store struct{ kv kv.Store }

// Open returns the chains that lie in table. The caller closes the table.
func Open(table kv.Store) *Store { return &Store{kv: table} }

// The key of the index of chains; see FORMAT.md.
const indexPart = "chains"

func partKey(p id.Partition) string {
	return "chain/" + p.Topic.String() + "/" + strconv.Itoa(int(p.Index))
}

func sortKey(o id.Offset) string { return fmt.Sprintf("%020d", int64(o)) }

func segmentKey(p id.Partition, base id.Offset) kv.Key {
	return kv.Key{Part: partKey(p), Sort: sortKey(base)}
}

func indexKey(p id.Partition) kv.Key {
	return kv.Key{Part: indexPart, Sort: fmt.Sprintf("%s/%010d", p.Topic, p.Index)}
}

func parseIndexKey(key kv.Key) (id.Partition, error) {
	topic, index, _ := strings.Cut(key.Sort, "/")
	t, err := id.ParseTopic(topic)
	if err != nil {
		return id.Partition{}, fmt.Errorf("%w: index item %q: %w", ErrCorrupt, key.Sort, err)
	}
	n, err := strconv.ParseInt(index, 10, 32)
	if err != nil || n < 0 {
		return id.Partition{}, fmt.Errorf("%w: index item %q: bad partition", ErrCorrupt, key.Sort)
	}
	return id.Partition{Topic: t, Index: int32(n)}, nil
}

// End returns where the chain of p ends: the base of the next link and, if the
// chain has any, its last segment. A chain without segments ends at 0.
func (s *Store) End(ctx context.Context, p id.Partition) (id.Offset, Segment, bool, error) {
	items, err := s.kv.Query(ctx, partKey(p), kv.Range{Limit: 1, Reverse: true})
	if err != nil {
		return 0, Segment{}, false, fmt.Errorf("read the end of the chain of %s: %w", p, err)
	}
	if len(items) == 0 {
		return 0, Segment{}, false, nil
	}
	seg, err := decodeItem(p, items[0])
	if err != nil {
		return 0, Segment{}, false, err
	}
	return seg.Next, seg, true, nil
}

// Ends reads where each chain ends, many at a time, and returns the answers in the order of ps.
func (s *Store) Ends(ctx context.Context, ps []id.Partition) []Tail {
	tails := make([]Tail, len(ps))
	parallel(len(ps), func(i int) {
		tails[i].End, tails[i].Last, _, tails[i].Err = s.End(ctx, ps[i])
	})
	return tails
}

// Tail is where a chain ends, or why that is not known.
type Tail struct {
	End  id.Offset // the base of the next link
	Last Segment   // the zero Segment if the chain is empty
	Err  error
}

// maxRequests is how many requests a call has under way at a time.
const maxRequests = 32

// parallel calls f with each number below n, maxRequests at a time, and returns when all have returned.
func parallel(n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, maxRequests) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// Find returns the segment that holds off. It fails with ErrNotSealed.
func (s *Store) Find(ctx context.Context, p id.Partition, off id.Offset) (Segment, error) {
	seg, ok, err := s.floor(ctx, p, off)
	if err != nil {
		return Segment{}, err
	}
	if !ok || off >= seg.Next {
		return Segment{}, fmt.Errorf("find offset %d of %s: %w", off, p, ErrNotSealed)
	}
	return seg, nil
}

// Segments returns, in order, the segments that hold from or what follows it, of the
// next limit items of the chain, 0 for all: fewer than limit segments also where some
// were replaced. There are none if and only if the chain ends at or below from.
func (s *Store) Segments(ctx context.Context, p id.Partition, from id.Offset, limit int) ([]Segment, error) {
	start := max(from, 0)
	seg, ok, err := s.floor(ctx, p, start)
	if err != nil {
		return nil, err
	}
	if ok && seg.Next > start {
		start = seg.Base
	}
	items, err := s.kv.Query(ctx, partKey(p), kv.Range{From: sortKey(start), Limit: limit})
	if err != nil {
		return nil, fmt.Errorf("read the chain of %s: %w", p, err)
	}
	segs := make([]Segment, 0, len(items))
	for _, item := range items {
		seg, err := decodeItem(p, item)
		if err != nil {
			return nil, err
		}
		if n := len(segs); n == 0 || seg.Base >= segs[n-1].Next { // else it was replaced
			segs = append(segs, seg)
		}
	}
	return segs, nil
}

// Partitions lists the partitions that have a chain, in order of the topics' text
// and the partitions' index. The chain of one that is listed may be empty.
func (s *Store) Partitions(ctx context.Context) ([]id.Partition, error) {
	items, err := s.kv.Query(ctx, indexPart, kv.Range{})
	if err != nil {
		return nil, fmt.Errorf("list the chains: %w", err)
	}
	ps := make([]id.Partition, len(items))
	for i, item := range items {
		if ps[i], err = parseIndexKey(item.Key); err != nil {
			return nil, err
		}
	}
	return ps, nil
}

// floor returns the last segment that starts at or below off, or one before it that holds off
// if that one does not.
func (s *Store) floor(ctx context.Context, p id.Partition, off id.Offset) (Segment, bool, error) {
	if off < 0 {
		return Segment{}, false, nil
	}
	r := kv.Range{To: sortKey(off) + "\x00", Limit: 1, Reverse: true}
	items, err := s.kv.Query(ctx, partKey(p), r)
	if err != nil {
		return Segment{}, false, fmt.Errorf("find offset %d in the chain of %s: %w", off, p, err)
	}
	if len(items) == 0 {
		return Segment{}, false, nil
	}
	seg, err := decodeItem(p, items[0])
	if err == nil && seg.Next <= off {
		seg, err = s.covering(ctx, p, off, seg)
	}
	return seg, err == nil, err
}

// covering returns the segment that holds off where the last one that starts at or below it,
// below, does not: it may be spare, and what was spare behind it be removed already. If
// there is none, off is beyond the end of the chain or in a gap, and covering returns below.
func (s *Store) covering(ctx context.Context, p id.Partition, off id.Offset, below Segment) (Segment, error) {
	const page = 64
	fail := func(err error) error {
		return fmt.Errorf("find offset %d in the chain of %s: %w", off, p, err)
	}
	behind, err := s.kv.Query(ctx, partKey(p), kv.Range{From: sortKey(off + 1), Limit: 1})
	if err != nil {
		return Segment{}, fail(err)
	}
	if len(behind) == 0 {
		return below, nil // the chain ends there
	}
	for to := sortKey(below.Base); ; {
		items, err := s.kv.Query(ctx, partKey(p), kv.Range{To: to, Limit: page, Reverse: true})
		if err != nil {
			return Segment{}, fail(err)
		}
		for _, item := range items {
			seg, err := decodeItem(p, item)
			if err != nil {
				return Segment{}, err
			}
			if seg.Next > off {
				return seg, nil
			}
			to = item.Key.Sort
		}
		if len(items) < page {
			return below, nil
		}
	}
}

func decodeItem(p id.Partition, item kv.Item) (Segment, error) {
	seg, err := DecodeSegment(item.Value)
	if err == nil && sortKey(seg.Base) != item.Key.Sort {
		err = fmt.Errorf("%w: it says base offset %d", ErrCorrupt, seg.Base)
	}
	if err != nil {
		return Segment{}, fmt.Errorf("read item %s of the chain of %s: %w", item.Key.Sort, p, err)
	}
	return seg, nil
}
