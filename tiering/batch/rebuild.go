package batch

// Rebuild starts a batch that takes the place of v, with fewer records, as compaction makes them:
// base and last offset, epoch, producer, sequence numbers, codec and attributes are v's, times are
// those of the records that are added with Keep, of which there is at least one: see [View.Hollow].
func Rebuild(v View) *Builder {
	b := &Builder{head: make(View, HeaderSize)}
	return b.Rebuild(v)
}

// Rebuild makes b start anew, in place of v, as [Rebuild] does; its memory is used again.
func (b *Builder) Rebuild(v View) *Builder {
	copy(b.head, v[:HeaderSize])
	b.records = b.records[:0]
	b.head.put32(posRecords, 0)
	return b
}

// DeleteHorizon sets when the tombstones or the marker of the batch may go, in milliseconds since
// 1970. It must come before the first record.
func (b *Builder) DeleteHorizon(ms int64) *Builder {
	b.head.put64(posBaseTimestamp, ms)
	return b.attribute(attrDeleteHorizon)
}

// Keep appends a record at its own offset, which lies above the one before and within the batch
// that is rebuilt. Nothing of r is kept.
func (b *Builder) Keep(r Record) *Builder {
	if b.head.Records() == 0 && !b.head.LogAppendTime() {
		b.head.put64(posMaxTimestamp, noTimestamp)
	}
	return b.add(r, int32(r.Offset-b.head.BaseOffset()))
}
