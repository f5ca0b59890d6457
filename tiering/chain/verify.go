package chain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/pack"
)

// ObjectPrefix is what the names of all sealed packs begin with.
const ObjectPrefix = "packs/"

// SegmentOf returns the segment that stands for a run of the pack that is stored
// as object with size bytes.
func SegmentOf(run *pack.Run, object string, size int64) Segment {
	return Segment{
		Base: run.Base, Next: run.Next, Object: object, ObjectSize: size, Pos: run.Pos, Length: run.Length,
		MaxTimestamp: run.MaxTimestamp, Records: run.Records,
		FirstEpoch: run.FirstEpoch, LastEpoch: run.Epochs[len(run.Epochs)-1].Epoch, CRC: run.CRC,
	}
}

// Matches reports how a segment and the run in its object contradict each other, nil if they agree.
func Matches(seg Segment, run *pack.Run) error {
	in := SegmentOf(run, seg.Object, seg.ObjectSize)
	in.Sealed, in.Rewritten, in.CleanedTo = seg.Sealed, seg.Rewritten, seg.CleanedTo // which the run does not tell
	if in != seg {
		return fmt.Errorf("the chain says %+v, the object %+v", seg, in)
	}
	return nil
}

// Kind says what a Finding is about.
type Kind string

// The kinds of findings. An orphan is an object that no chain names, which a crash
// or a lost race leaves behind and which harms nobody; the others are damage.
const (
	BadItem     Kind = "bad item"           // an item of a chain cannot be read
	BadChain    Kind = "broken chain"       // a segment does not start where the one before ended
	Missing     Kind = "missing object"     // a chain names an object that is not there
	Unreadable  Kind = "unreadable object"  // the object store failed
	BadObject   Kind = "damaged object"     // an object fails its checksums or has another size
	Mismatch    Kind = "mismatched segment" // an object does not hold what the chain says
	OrphanFound Kind = "orphan"
)

// Finding is one thing that Verify found. Partition and Offset are zero if it is
// about an object as a whole, Object is empty if it is about an item.
type Finding struct {
	Kind      Kind
	Partition id.Partition
	Offset    id.Offset // base offset of the segment
	Object    string
	Err       error // what is wrong, nil for an orphan
}

// String describes the finding in one line.
func (f Finding) String() string {
	s := string(f.Kind)
	if f.Object != "" {
		s += " " + f.Object
	}
	if !f.Partition.Topic.IsZero() {
		s += fmt.Sprintf(" of %s at offset %d", f.Partition, f.Offset)
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

// Summary counts what Verify looked at.
type Summary struct {
	Partitions, Segments, Objects int
	Spare                         int   // items that do not count any more: see Canonical
	Records, Bytes                int64 // in the segments
	Orphans                       int
	Damage                        int // findings that are no orphans
}

// Verify is VerifyFrom for one who does not know where the logs start: a chain may begin anywhere.
func Verify(ctx context.Context, table kv.Store, objects objstore.Store, report func(Finding)) (Summary, error) {
	return VerifyFrom(ctx, table, objects, func(id.Partition) (id.Offset, bool) { return 0, false }, report)
}

// VerifyFrom walks every chain of table: that its canonical segments are contiguous from the log
// start on, that every object they name is there and whole, every byte read against its checksums, and
// holds what the segments say. Of spare items it is no matter whether their objects are there. It
// also names the packs that no chain names. It calls report for each finding, from its own goroutine,
// and returns an error only if it could not go on. Objects that are sealed meanwhile may appear as orphans.
//
// start tells where the log of a partition starts, or false if that is not known.
func VerifyFrom(
	ctx context.Context, table kv.Store, objects objstore.Store, start func(id.Partition) (id.Offset, bool), report func(Finding),
) (Summary, error) {
	v := verifier{table: table, objects: objects, start: start, report: report, links: map[string][]Link{}, spare: map[string]struct{}{}}
	ps, err := Open(table).Partitions(ctx)
	if err != nil {
		return v.sum, err
	}
	for _, p := range ps {
		if err := v.chain(ctx, p); err != nil {
			return v.sum, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.links)) {
		if err := v.object(ctx, name, v.links[name]); err != nil {
			return v.sum, err
		}
	}
	return v.sum, v.orphans(ctx)
}

type verifier struct {
	table   kv.Store
	objects objstore.Store
	report  func(Finding)
	start   func(id.Partition) (id.Offset, bool)
	sum     Summary
	links   map[string][]Link   // by object, of what is canonical
	spare   map[string]struct{} // objects of spare items
}

func (v *verifier) find(f Finding) {
	if f.Kind == OrphanFound {
		v.sum.Orphans++
	} else {
		v.sum.Damage++
	}
	v.report(f)
}

// chain checks the items of one partition and notes what they name.
func (v *verifier) chain(ctx context.Context, p id.Partition) error {
	v.sum.Partitions++
	raw, err := v.table.Query(ctx, partKey(p), kv.Range{})
	if err != nil {
		return fmt.Errorf("read the chain of %s: %w", p, err)
	}
	items := make([]Item, 0, len(raw))
	for _, r := range raw {
		seg, err := decodeItem(p, r)
		if err != nil {
			at, _ := strconv.ParseInt(r.Key.Sort, 10, 64) // a damaged key has no offset
			v.find(Finding{Kind: BadItem, Partition: p, Offset: id.Offset(at), Err: err})
			continue
		}
		items = append(items, Item{Segment: seg, Version: r.Version})
	}
	if len(items) == 0 {
		return nil
	}
	start, known := v.start(p)
	if !known {
		start = items[0].Base
	}
	canonical, spare, err := Canonical(items, start)
	if err != nil {
		v.gaps(p, items, min(start, items[0].Base))
	}
	for _, item := range canonical {
		v.sum.Segments++
		v.sum.Records += item.Records
		v.sum.Bytes += item.Length
		if !item.Empty() {
			v.links[item.Object] = append(v.links[item.Object], Link{Partition: p, Segment: item.Segment})
		}
	}
	v.sum.Spare += len(spare)
	for _, item := range spare {
		v.spare[item.Object] = struct{}{}
	}
	return nil
}

// gaps names the places where a chain, which should begin at end, goes on above.
func (v *verifier) gaps(p id.Partition, items []Item, end id.Offset) {
	for _, item := range items {
		if item.Base > end {
			err := fmt.Errorf("it starts at %d, the one before ends at %d", item.Base, end)
			v.find(Finding{Kind: BadChain, Partition: p, Offset: item.Base, Err: err})
		}
		end = max(end, item.Next)
	}
}

// object reads one object and compares it with the segments that name it.
func (v *verifier) object(ctx context.Context, name string, links []Link) error {
	v.sum.Objects++
	info, err := v.objects.Stat(ctx, name)
	if err == nil {
		err = pack.Verify(ctx, objstore.Object{Store: v.objects, Key: name}, info.Size)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		v.find(Finding{Kind: objectKind(err), Object: name, Partition: links[0].Partition, Offset: links[0].Segment.Base, Err: err})
		return nil
	}
	footer, err := pack.ReadFooter(ctx, objstore.Object{Store: v.objects, Key: name}, info.Size)
	if err != nil {
		v.find(Finding{Kind: objectKind(err), Object: name, Err: err})
		return ctx.Err()
	}
	for _, l := range links {
		err := errors.New("the object has no run of the partition")
		if run, ok := footer.Run(l.Partition); ok {
			err = Matches(l.Segment, run)
		}
		if err == nil && l.Segment.ObjectSize != info.Size {
			err = fmt.Errorf("the object has %d bytes, the chain says %d", info.Size, l.Segment.ObjectSize)
		}
		if err != nil {
			v.find(Finding{Kind: Mismatch, Object: name, Partition: l.Partition, Offset: l.Segment.Base, Err: err})
		}
	}
	return nil
}

func objectKind(err error) Kind {
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return Missing
	case errors.Is(err, pack.ErrCorrupt), errors.Is(err, pack.ErrVersion):
		return BadObject
	}
	return Unreadable
}

// orphans lists the packs that no chain names.
func (v *verifier) orphans(ctx context.Context) error {
	for info, err := range v.objects.List(ctx, ObjectPrefix, "") {
		if err != nil {
			return fmt.Errorf("list the packs: %w", err)
		}
		_, named := v.links[info.Key]
		if _, spare := v.spare[info.Key]; !named && !spare {
			v.find(Finding{Kind: OrphanFound, Object: info.Key})
		}
	}
	return nil
}
