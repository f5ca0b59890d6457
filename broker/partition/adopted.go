package partition

import (
	"slices"
	"sort"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
)

// A new leader finds committed records of the partition that its chain does not have yet
// in the WAL objects of earlier leaders. It serves them from there, and seals them: until
// then they are adopted. The list is derived from the metadata's Tails and the streams.

// adoptedAt returns the adopted segment that holds offset off.
func (l *Log) adoptedAt(off id.Offset) (chain.Segment, bool) {
	segs := l.adoptedFrom(off)
	if len(segs) == 0 || segs[0].Base > off {
		return chain.Segment{}, false
	}
	return segs[0], true
}

// adoptedFrom returns the adopted segments from the one that holds off on. It is shared: read only.
func (l *Log) adoptedFrom(off id.Offset) []chain.Segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.adopted), func(i int) bool { return l.adopted[i].Next > off })
	return l.adopted[i:]
}

// sealedTo forgets the adopted segments below the end of the chain, and their aborted transactions.
func (l *Log) sealedTo(end id.Offset) {
	l.forgetAborted(end)
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.adopted), func(i int) bool { return l.adopted[i].Next > end })
	l.adopted = slices.Clone(l.adopted[i:])
	if len(l.adopted) == 0 {
		l.adopted = nil
	}
}

// Adoption is what is to be sealed of one partition.
type Adoption struct {
	Partition id.Partition
	Segments  []chain.Segment // in order; shared: read only
}

// Adoptions lists the partitions that have adopted segments, in order.
func (s *Set) Adoptions() []Adoption {
	var list []Adoption
	for l := range s.All() {
		if segs := l.adoptedFrom(0); len(segs) > 0 {
			list = append(list, Adoption{l.id, segs})
		}
	}
	slices.SortFunc(list, func(a, b Adoption) int { return a.Partition.Compare(b.Partition) })
	return list
}

// SealedTo says that the chain of a partition ends at end now.
func (s *Set) SealedTo(p id.Partition, end id.Offset) {
	s.mu.RLock()
	l, ok := s.logs[p]
	s.mu.RUnlock()
	if ok {
		l.sealedTo(end)
	}
}

// Held reports whether the hot records of a partition that this broker leads must not be
// sealed yet, because others come before them or because it is still being recovered.
func (s *Set) Held(p id.Partition) bool {
	s.mu.RLock()
	l, ok := s.logs[p]
	s.mu.RUnlock()
	if !ok {
		return s.Live(p)
	}
	return len(l.adoptedFrom(0)) > 0
}
