package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/journal"
)

// hotLog is what the hot segments hold.
type hotLog struct {
	spans   map[id.Partition][]span
	digests map[id.Segment]digest
}

// span is consecutive offsets, and the file with the first of them.
type span struct {
	from, to id.Offset
	file     string
	position int64
}

// digest stands for a set of index entries: the XOR of their hashes, and how many.
type digest struct {
	fold    uint64
	entries int64
}

func (d digest) with(p id.Partition, e journal.Entry) digest {
	return digest{d.fold ^ e.Hash(p), d.entries + 1}
}

// hotSegments checks every byte of the hot segments and notes what they hold.
func (a *auditor) hotSegments(ctx context.Context) error {
	a.hot = hotLog{map[id.Partition][]span{}, map[id.Segment]digest{}}
	dir := path.Join(a.dir.Path, a.dir.Hot)
	files, err := a.dir.FS.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no broker got so far
	}
	if err != nil {
		return err
	}
	err = journal.Verify(a.dir.FS, dir, func(f journal.Finding) {
		a.find(Finding{
			Severity: Damage, Check: "hot segment", File: below(a.dir.Hot, path.Base(f.Path)),
			Position: &f.Position, Length: f.Length, What: f.What,
		})
	})
	if err != nil {
		return err
	}
	for _, f := range files { // in order of segment
		if !strings.HasSuffix(f.Name(), hotSuffix) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		a.stage("hot segment " + f.Name())
		if err := a.readSegment(f.Name()); err != nil {
			return err
		}
	}
	return nil
}

// hotSuffix ends the names of hot segments; see tiering/journal/FORMAT.md.
const hotSuffix = ".hot"

// readSegment notes the batches of a segment. Its damage has been reported.
func (a *auditor) readSegment(name string) error {
	r, err := journal.OpenSegment(a.dir.FS, path.Join(a.dir.Path, a.dir.Hot, name))
	if errors.Is(err, journal.ErrCorrupt) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read from
	if a.image != nil && r.Cluster != a.sum.Cluster {
		a.find(Finding{Severity: Damage, Check: "hot segment", File: below(a.dir.Hot, name), What: fmt.Sprintf("it is of cluster %s, the directory of %s", r.Cluster, a.sum.Cluster)})
	}
	a.sum.Segments++
	a.sum.HotBytes += r.Size
	for f, err := range r.Frames() {
		switch {
		case errors.Is(err, journal.ErrCorrupt):
			continue
		case err != nil:
			return err
		case f.Footer:
			continue
		}
		a.sum.Batches++
		a.hot.digests[r.ID] = a.hot.digests[r.ID].with(f.Partition, f.Entry)
		a.hot.add(f.Partition, span{f.Entry.Base, f.Entry.Next, below(a.dir.Hot, name), f.Position})
	}
	return nil
}

// add appends a span, or extends the last one that it continues.
func (h *hotLog) add(p id.Partition, s span) {
	spans := h.spans[p]
	if n := len(spans); n > 0 && spans[n-1].to == s.from {
		spans[n-1].to = s.to
		return
	}
	h.spans[p] = append(spans, s)
}

// continuity proves that each partition's offsets are all there: sealed up to the
// end of its chain, and hot from there on.
func (a *auditor) continuity(context.Context) error {
	if a.image == nil {
		return nil // which partitions there are is not known; that was reported
	}
	for _, t := range a.image.Topics() {
		for i := range t.Partitions {
			if p := (id.Partition{Topic: t.ID, Index: int32(i)}); !a.broken[p] {
				a.continuous(p)
			}
		}
	}
	return nil
}

func (a *auditor) continuous(p id.Partition) {
	end := a.ends[p]
	spans := a.hot.spans[p]
	slices.SortStableFunc(spans, func(s, t span) int { return cmp.Compare(s.from, t.from) })
	for _, s := range spans {
		if s.from > end {
			f := Finding{Severity: Damage, Check: "continuity", File: s.file, Position: &s.position}
			f.What = fmt.Sprintf("offsets %d to %d are neither sealed nor hot", end, s.from-1)
			a.find(a.at(f, p, end))
		}
		end = max(end, s.to)
	}
	a.reach[p] = end
}

// index compares the index with the hot segments. It is derived: what is wrong with
// it is harmless, for the broker sees it too and makes the index anew. But an index
// that is whole is a witness of batches that are gone.
func (a *auditor) index(context.Context) error {
	dir := path.Join(a.dir.Path, a.dir.Index)
	indexed := map[id.Segment]digest{}
	lost := map[id.Partition]span{}
	err := journal.InspectIndex(dir, func(p id.Partition, e journal.Entry) error {
		indexed[e.Segment] = indexed[e.Segment].with(p, e)
		a.sum.Indexed++
		if reach, ok := a.reach[p]; ok && e.Next > reach {
			s, known := lost[p]
			if !known {
				s = span{from: max(e.Base, reach), file: below(a.dir.Hot, e.Segment.String()+hotSuffix), position: e.Pos}
			}
			s.to = e.Next
			lost[p] = s
		}
		return nil
	})
	if err != nil {
		a.find(Finding{Severity: Harmless, Check: "index", File: a.dir.Index, What: "index differs, will be rebuilt: " + err.Error()})
		return nil
	}
	for _, p := range slices.SortedFunc(maps.Keys(lost), id.Partition.Compare) {
		s := lost[p]
		f := Finding{Severity: Damage, Check: "continuity", File: s.file, Position: &s.position}
		f.What = fmt.Sprintf("offsets %d to %d are gone: the index has them, the hot segments do not", s.from, s.to-1)
		a.find(a.at(f, p, s.from))
	}
	a.compareIndex(indexed)
	return nil
}

// compareIndex compares what the index holds of each segment with the segment.
func (a *auditor) compareIndex(indexed map[id.Segment]digest) {
	differs := func(format string, args ...any) {
		a.find(Finding{Severity: Harmless, Check: "index", File: a.dir.Index, What: "index differs, will be rebuilt: " + fmt.Sprintf(format, args...)})
	}
	for _, segment := range slices.Sorted(maps.Keys(a.hot.digests)) {
		if got, held := indexed[segment], a.hot.digests[segment]; got != held {
			differs("of segment %s it has %d batches, the segment %d, or they are not the same", segment, got.entries, held.entries)
		}
	}
	for _, segment := range slices.Sorted(maps.Keys(indexed)) {
		if _, ok := a.hot.digests[segment]; !ok {
			differs("it has %d batches of segment %s, which is not there", indexed[segment].entries, segment)
		}
	}
}
