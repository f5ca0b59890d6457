package oracle

import "slices"

// checkReads looks at each whole read by itself and at how they agree. What the first one
// found is the log that the other checks compare with.
func (c *checker) checkReads(p Partition) {
	part := c.parts[p]
	if len(part.reads) == 0 {
		c.add(NotDrained, p, "nobody has read it")
	}
	for i, r := range part.reads {
		last := c.checkRead(p, r)
		if i > 0 {
			c.compare(p, part.reads[0], r)
			continue
		}
		part.last = last
		for _, rec := range r.Records {
			part.log[rec.Offset] = rec
		}
	}
}

// checkRead returns the last offset that the read has, -1 if it has none.
func (c *checker) checkRead(p Partition, r *Read) (last int64) {
	if !r.Drained {
		c.add(NotDrained, p, "the read %s ended before offset %d: %s", r.Name, r.End, r.Error)
	}
	who := "the read " + r.Name
	seen := make(map[Value]int64, len(r.Records))
	for _, rec := range r.Records {
		c.known(p, rec, who)
		if rec.Bad != "" {
			continue
		}
		if at, ok := seen[rec.Value]; ok {
			c.add(Duplicate, p, "%s has %s at offsets %d and %d", who, rec.Value, at, rec.Offset)
			continue
		}
		seen[rec.Value] = rec.Offset
	}
	last = c.checkDense(p, r)
	for _, s := range c.parts[p].sends {
		if s.Outcome != OK {
			continue
		}
		if at, ok := seen[s.Value]; ok {
			if at != s.Offset {
				c.add(InconsistentOffsets, p, "%s has %s at offset %d, it was acknowledged at %d", who, s.Value, at, s.Offset)
			}
			continue
		}
		if s.Offset < last {
			c.add(LostWrite, p, "%s was acknowledged at offset %d; %s goes to %d and does not have it", s.Value, s.Offset, who, last)
		} else {
			c.add(Unseen, p, "%s was acknowledged at offset %d; %s ends at %d", s.Value, s.Offset, who, last)
		}
	}
	return last
}

// checkDense looks for missing and repeated offsets and returns the last one there is, -1 if there is none.
func (c *checker) checkDense(p Partition, r *Read) (last int64) {
	offsets := slices.Clone(r.Control)
	for i, rec := range r.Records {
		if i > 0 && rec.Offset <= r.Records[i-1].Offset {
			c.add(NonmonotonicPoll, p, "the read %s has offset %d after %d", r.Name, rec.Offset, r.Records[i-1].Offset)
		}
		offsets = append(offsets, rec.Offset)
	}
	slices.Sort(offsets)
	offsets = slices.Compact(offsets)
	next := r.Start
	for _, at := range offsets {
		if at > next && !r.Compacted {
			c.add(Gap, p, "the read %s has nothing from offset %d to %d", r.Name, next, at-1)
		}
		next = at + 1
	}
	if r.Drained && !r.Compacted && next < r.End {
		c.add(Gap, p, "the read %s has nothing from offset %d to %d, where the log ends", r.Name, next, r.End-1)
	}
	return next - 1
}

// compare looks for offsets at which two reads differ.
func (c *checker) compare(p Partition, a, b *Read) {
	i, j := 0, 0
	for i < len(a.Records) && j < len(b.Records) {
		x, y := a.Records[i], b.Records[j]
		switch {
		case x.Offset < y.Offset:
			c.add(ReadsDiffer, p, "the read %s has offset %d, the read %s does not", a.Name, x.Offset, b.Name)
			i++
		case x.Offset > y.Offset:
			c.add(ReadsDiffer, p, "the read %s has offset %d, the read %s does not", b.Name, y.Offset, a.Name)
			j++
		default:
			if x != y {
				c.add(ReadsDiffer, p, "offset %d is %s (%x) for the read %s and %s (%x) for the read %s",
					x.Offset, x.text(), x.Sum, a.Name, y.text(), y.Sum, b.Name)
			}
			i, j = i+1, j+1
		}
	}
	if left := len(a.Records) - i; left > 0 {
		c.add(ReadsDiffer, p, "the read %s has %d records from offset %d on, the read %s ends before", a.Name, left, a.Records[i].Offset, b.Name)
	}
	if left := len(b.Records) - j; left > 0 {
		c.add(ReadsDiffer, p, "the read %s has %d records from offset %d on, the read %s ends before", b.Name, left, b.Records[j].Offset, a.Name)
	}
}

func (r Record) text() string {
	if r.Bad != "" {
		return r.Bad
	}
	return r.Value.String()
}
