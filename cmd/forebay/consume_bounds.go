package main

import (
	"context"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kadm"
)

// bounds are the offsets that say where to start and stop.
type bounds struct {
	starts, ends kadm.ListedOffsets
	from, until  kadm.ListedOffsets // by time; nil if not asked for
}

func (c *consuming) listBounds(ctx context.Context, adm *kadm.Client) (b bounds, err error) {
	if b.starts, err = adm.ListStartOffsets(ctx, c.topics...); err != nil {
		return b, fmt.Errorf("list start offsets: %w", err)
	}
	list := adm.ListEndOffsets
	if c.committed {
		list = adm.ListCommittedOffsets
	}
	if b.ends, err = list(ctx, c.topics...); err != nil {
		return b, fmt.Errorf("list end offsets: %w", err)
	}
	if c.start.kind == startTime {
		if b.from, err = adm.ListOffsetsAfterMilli(ctx, c.start.n, c.topics...); err != nil {
			return b, fmt.Errorf("look up the time to start at: %w", err)
		}
	}
	if c.start.until != math.MaxInt64 {
		if b.until, err = adm.ListOffsetsAfterMilli(ctx, c.start.until, c.topics...); err != nil {
			return b, fmt.Errorf("look up the time to stop at: %w", err)
		}
	}
	return b, nil
}

// place returns where to start and stop in p.
func (b bounds) place(p partition, s startAt, exit bool) (position, error) {
	at := position{until: math.MaxInt64}
	start, err := lookup(b.starts, p)
	if err != nil {
		return at, err
	}
	end, err := lookup(b.ends, p)
	if err != nil {
		return at, err
	}
	switch s.kind {
	case startEnd:
		at.next = max(start.Offset, end.Offset-s.n)
	case startBeginning:
		at.next = start.Offset
	case startOffset:
		if at.next = s.n; s.n < start.Offset || s.n > end.Offset {
			return at, fmt.Errorf("offset %d is not in %s, which has %d to %d", s.n, p, start.Offset, end.Offset)
		}
	case startTime:
		from, err := lookup(b.from, p)
		if err != nil {
			return at, err
		}
		at.next = from.Offset
	}
	if exit {
		at.until = end.Offset
	}
	if b.until == nil {
		return at, nil
	}
	until, err := lookup(b.until, p)
	if err != nil {
		return at, err
	}
	if until.Timestamp >= 0 { // else there is no such record yet
		at.until = min(at.until, until.Offset)
	}
	return at, nil
}

func lookup(offsets kadm.ListedOffsets, p partition) (kadm.ListedOffset, error) {
	o, ok := offsets.Lookup(p.topic, p.index)
	switch {
	case !ok:
		return o, fmt.Errorf("list offsets of %s: no answer", p)
	case o.Err != nil:
		return o, fmt.Errorf("list offsets of %s: %w", p, o.Err)
	}
	return o, nil
}
