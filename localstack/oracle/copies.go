package oracle

// checkCopies compares what groups have copied in transactions with what was there to copy
// and with the offsets that they committed in the same transactions: what is before the offset
// was copied once and in order, what is behind it was not.
func (c *checker) checkCopies() {
	reads := map[string]map[Partition]*Read{} // the committed ones, by name
	for i := range c.history.Reads {
		r := &c.history.Reads[i]
		if !r.Committed {
			continue
		}
		if reads[r.Name] == nil {
			reads[r.Name] = map[Partition]*Read{}
		}
		reads[r.Name][r.Partition] = r
	}
	for i := range c.history.Copies {
		job := &c.history.Copies[i]
		from, to := reads[job.Name][job.From], reads[job.Name][job.To]
		if from == nil || to == nil || !from.Drained || !to.Drained {
			continue // which is told elsewhere
		}
		c.checkCopy(job, from, to)
	}
}

func (c *checker) checkCopy(job *Copy, from, to *Read) {
	sources := make(map[Value]int64, len(from.Records))
	for _, r := range from.Records {
		sources[r.Value] = r.Offset
	}
	copies, last := make(map[Value]int64, len(to.Records)), int64(-1)
	for _, r := range to.Records {
		s := c.sends[r.Value]
		if s == nil || s.Of == nil {
			continue
		}
		at, ok := sources[*s.Of]
		if !ok {
			c.add(AbortedRead, job.To, "%s at offset %d is a copy of %s, which is not committed in %s", r.Value, r.Offset, s.Of, job.From)
			continue
		}
		if before, twice := copies[*s.Of]; twice {
			c.add(CopyTwice, job.To, "%s, at offset %d of %s, was copied to offsets %d and %d", s.Of, at, job.From, before, r.Offset)
			continue
		}
		copies[*s.Of] = r.Offset
		if at < last {
			c.add(CopyOrder, job.To, "%s, at offset %d of %s, was copied after what is at offset %d", s.Of, at, job.From, last)
		}
		last = max(last, at)
		if at >= job.Offset {
			c.add(CopyTwice, job.To, "%s, at offset %d of %s, was copied, and %s has committed offset %d: it would be copied again",
				s.Of, at, job.From, job.Group, job.Offset)
		}
	}
	for _, r := range from.Records {
		if _, ok := copies[r.Value]; !ok && r.Offset < job.Offset {
			c.add(CopyLost, job.To, "%s has committed offset %d of %s, and %s at offset %d was not copied", job.Group, job.Offset, job.From, r.Value, r.Offset)
		}
	}
}
