package journal

import "sync/atomic"

// counters are the moving parts of Stats.
type counters struct {
	appends, appendedBytes, flushes, syncs, rolls atomic.Int64
	indexKeys, indexRebuilds                      atomic.Int64
	readsMemory, readsFile                        atomic.Int64
}

// Stats returns counters and sizes.
func (j *Journal) Stats() Stats {
	s := Stats{
		Appends:       j.stats.appends.Load(),
		AppendedBytes: j.stats.appendedBytes.Load(),
		Flushes:       j.stats.flushes.Load(),
		Syncs:         j.stats.syncs.Load(),
		Rolls:         j.stats.rolls.Load(),
		IndexKeys:     j.stats.indexKeys.Load(),
		IndexRebuilds: j.stats.indexRebuilds.Load(),
		ReadsMemory:   j.stats.readsMemory.Load(),
		ReadsFile:     j.stats.readsFile.Load(),
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	s.Segments, s.Partitions, s.TailBytes = len(j.segments), len(j.parts), j.tailSize
	s.TailEntries = len(j.tail.q) - j.tail.head
	for _, seg := range j.segments {
		s.Bytes += seg.size
	}
	return s
}
