package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// appendAttempts is how often a write of unknown outcome that turns out not to be
// applied is tried in all.
const appendAttempts = 3

// Append commits links, each on its own, and returns an error or nil for each: nil
// once the link is durable, ErrTaken, ErrGap, ErrInvalid, or the table's error, in
// which case the link may yet come to be part of the chain. Links of different
// partitions share one write of the table, so their order does not matter; links
// of one partition are committed one after the other as they stand.
//
// Appending a link that the chain holds already succeeds; an outcome that the
// table does not know is resolved by reading back, and both are sound because no
// two uploads share an object name.
func (s *Store) Append(ctx context.Context, links []Link) []error {
	errs := make([]error, len(links))
	ends := make(map[id.Partition]id.Offset, len(links)) // where chains are known to have ended
	for _, link := range slices.Backward(links) {        // the first of each partition has the say
		delete(ends, link.Partition)
		if link.AtEnd {
			ends[link.Partition] = link.Segment.Base
		}
	}
	todo := make([]int, len(links))
	for i := range todo {
		todo[i] = i
	}
	for len(todo) > 0 {
		var later []int
		seen := make(map[id.Partition]struct{}, len(todo))
		round := todo[:0:0]
		for _, i := range todo {
			if _, again := seen[links[i].Partition]; again {
				later = append(later, i)
				continue
			}
			seen[links[i].Partition] = struct{}{}
			round = append(round, i)
		}
		s.appendRound(ctx, links, round, ends, errs)
		todo = later
	}
	return errs
}

// appendRound appends links[i] for each i of round, of different partitions.
func (s *Store) appendRound(ctx context.Context, links []Link, round []int, ends map[id.Partition]id.Offset, errs []error) {
	done := make([]bool, len(links))
	var unsure []int
	for _, i := range round {
		link := links[i]
		end, known := ends[link.Partition]
		if err := link.Segment.Validate(); err != nil {
			errs[i] = appendError(link, err)
		} else if !known || end != link.Segment.Base {
			unsure = append(unsure, i)
		}
	}
	parallel(len(unsure), func(n int) {
		i := unsure[n]
		done[i], errs[i] = s.check(ctx, links[i])
	})
	ready := slices.DeleteFunc(slices.Clone(round), func(i int) bool { return done[i] || errs[i] != nil })
	s.put(ctx, links, s.index(ctx, links, ready, errs), errs)
	for _, i := range round {
		delete(ends, links[i].Partition) // what comes after a link that failed is not at the end
		if errs[i] == nil {
			ends[links[i].Partition] = links[i].Segment.Next
		}
	}
}

// put writes the items of links[i] for each i of ready.
func (s *Store) put(ctx context.Context, links []Link, ready []int, errs []error) {
	for attempt := 1; len(ready) > 0 && attempt <= appendAttempts; attempt++ {
		results := s.kv.Write(ctx, writes(links, ready)...)
		applied := make([]bool, len(ready))
		parallel(len(ready), func(n int) {
			i := ready[n]
			applied[n], errs[i] = s.outcome(ctx, links[i], results[n].Err)
		})
		var again []int
		for n, i := range ready {
			if errs[i] == nil && !applied[n] {
				errs[i] = appendError(links[i], results[n].Err)
				again = append(again, i)
			}
		}
		ready = again
	}
}

func writes(links []Link, ready []int) []kv.Write {
	ws := make([]kv.Write, len(ready))
	for n, i := range ready {
		ws[n] = kv.Write{Key: segmentKey(links[i].Partition, links[i].Segment.Base), Value: links[i].Segment.AppendTo(nil)}
	}
	return ws
}

// check reports whether link, which is valid, is in the chain already, or why it must not be.
func (s *Store) check(ctx context.Context, link Link) (done bool, err error) {
	end, _, _, err := s.End(ctx, link.Partition)
	switch base := link.Segment.Base; {
	case err != nil:
		return false, err
	case base == end:
		return false, nil
	case base > end:
		return false, appendError(link, fmt.Errorf("%w: it ends at %d", ErrGap, end))
	}
	done, err = s.readBack(ctx, link)
	if err == nil && !done { // below the end, yet nothing there: truncated since
		err = appendError(link, ErrTaken)
	}
	return done, err
}

// index writes the index items of the chains that begin with this round, and
// returns those of ready that may go on.
func (s *Store) index(ctx context.Context, links []Link, ready []int, errs []error) []int {
	var begin []int
	for _, i := range ready {
		if links[i].Segment.Base == 0 {
			begin = append(begin, i)
		}
	}
	for attempt := 1; len(begin) > 0 && attempt <= appendAttempts; attempt++ {
		ws := make([]kv.Write, len(begin))
		for n, i := range begin {
			ws[n] = kv.Write{Key: indexKey(links[i].Partition), Value: []byte{segmentVersion}, Any: true}
		}
		var again []int
		for n, res := range s.kv.Write(ctx, ws...) {
			i := begin[n]
			if errs[i] = nil; res.Err != nil {
				errs[i] = appendError(links[i], fmt.Errorf("write its index item: %w", res.Err))
			}
			if errors.Is(res.Err, kv.ErrUnknown) { // always the same value: safe to repeat
				again = append(again, i)
			}
		}
		begin = again
	}
	return slices.DeleteFunc(ready, func(i int) bool { return errs[i] != nil })
}

// outcome says whether the write of link that ended with err was applied. Neither
// applied nor an error means that it is worth another attempt.
func (s *Store) outcome(ctx context.Context, link Link, err error) (applied bool, _ error) {
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, kv.ErrUnknown), errors.Is(err, kv.ErrConflict):
		return s.readBack(ctx, link)
	}
	return false, appendError(link, err)
}

// readBack reports whether link is the item at its place, fails with ErrTaken if
// another is, and reports false if none is.
func (s *Store) readBack(ctx context.Context, link Link) (bool, error) {
	item, err := s.kv.Get(ctx, segmentKey(link.Partition, link.Segment.Base))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return false, nil
	case err != nil:
		return false, appendError(link, fmt.Errorf("read back: %w", err))
	case bytes.Equal(item.Value, link.Segment.AppendTo(nil)):
		return true, nil
	}
	return false, appendError(link, ErrTaken)
}

func appendError(link Link, err error) error {
	return fmt.Errorf("append offsets %d to %d of %s in object %s to the chain: %w",
		link.Segment.Base, link.Segment.Next, link.Partition, link.Segment.Object, err)
}
