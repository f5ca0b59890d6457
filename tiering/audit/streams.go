package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/slotlog"
	"github.com/forebaylog/forebay/tiering/wal"
)

// stream is the stream of a session, as far as it is not released.
type stream struct {
	slots []streamSlot
	spans map[id.Partition][]placed // in order of slot; derived from the objects
}

type streamSlot struct {
	seq     uint64
	objects []string
}

// span is a run of a WAL object.
type span struct {
	partition  id.Partition
	base, next id.Offset
}

// placed is where a stream has offsets.
type placed struct {
	seq        uint64
	object     string
	base, next id.Offset
}

// readStreams reads the slots of all streams that may hold records.
func (a *auditor) readStreams(ctx context.Context) error {
	if a.image == nil {
		return nil
	}
	sessions := map[id.Session]bool{}
	for _, s := range a.image.Streams() {
		sessions[s.Session] = true
	}
	for _, t := range a.image.Topics() {
		for _, p := range t.Partitions {
			for _, tail := range p.Tails {
				sessions[tail.Session] = true
			}
		}
	}
	a.report.Streams = len(sessions)
	for _, s := range slices.Sorted(maps.Keys(sessions)) {
		if err := a.readStream(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// slotAttempts is how often the slots of a stream are read that is released meanwhile.
const slotAttempts = 5

// readSlots reads what is not released of a stream.
func readSlots(ctx context.Context, slots *slotlog.Log) (first uint64, raw []slotlog.Slot, err error) {
	for range slotAttempts {
		if first, err = slots.First(ctx); err != nil {
			return 0, nil, err
		}
		first = max(first, 1)
		if raw, err = slots.Read(ctx, first, 0); !errors.Is(err, slotlog.ErrTruncated) {
			break
		}
	}
	return first, raw, err
}

// readStream checks the slots of one stream and notes the objects that they name.
func (a *auditor) readStream(ctx context.Context, session id.Session) error {
	s := &stream{spans: map[id.Partition][]placed{}}
	a.streams[session] = s
	f := Finding{Severity: Damage, Check: "stream", Session: string(session)}
	next, raw, err := readSlots(ctx, wal.Slots(a.cfg.Control, session))
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.blind = true
		a.find(a.in(f, err))
		return nil
	}
	var index *wal.ObjectRef
	for _, r := range raw {
		a.report.StreamSlots++
		f.Slot = &r.Seq
		if r.Seq != next {
			f.What = fmt.Sprintf("slots %d to %d are missing", next, r.Seq-1)
			a.find(f)
		}
		next = r.Seq + 1
		slot, err := wal.DecodeSlot(r.Payload)
		if err != nil {
			a.blind = true
			a.find(a.in(f, err))
			continue
		}
		if slot.Index != nil {
			index = slot.Index
		}
		taken := streamSlot{seq: r.Seq}
		for _, ref := range slot.Objects {
			o := a.object(ref.Name)
			o.kind, o.named = walObject, ref.Size
			taken.objects = append(taken.objects, ref.Name)
		}
		s.slots = append(s.slots, taken)
	}
	if index == nil {
		return nil
	}
	return a.readIndex(ctx, session, *index)
}

// readIndex checks the index of a stream. It is derived, but who takes over believes it.
func (a *auditor) readIndex(ctx context.Context, session id.Session, ref wal.ObjectRef) error {
	o := a.object(ref.Name)
	o.kind, o.named = walIndex, ref.Size
	f := Finding{Severity: Damage, Check: "stream index", Object: ref.Name, Session: string(session)}
	if o.size >= 0 && o.size != ref.Size {
		f.What = fmt.Sprintf("the object has %d bytes, the slot says %d", o.size, ref.Size)
		a.find(f)
	}
	entries, err := wal.ReadIndex(ctx, a.cfg.Objects, ref)
	if err != nil {
		if !isDamage(err) {
			return err
		}
		o.broken = o.size >= 0
		a.find(a.in(f, err))
		return nil
	}
	for _, e := range entries {
		if named, ok := a.objects[e.Name]; ok && named.kind == walObject && named.named != e.Size {
			f.What = fmt.Sprintf("it says that object %s has %d bytes, its slot says %d", e.Name, e.Size, named.named)
			a.find(f)
		}
	}
	return nil
}

// continuity proves that what the chains do not have is in the streams, without a gap: as a
// new leader of each partition would find it.
func (a *auditor) continuity(context.Context) error {
	if a.image == nil {
		return nil
	}
	for _, s := range a.streams {
		for _, slot := range s.slots {
			for _, name := range slot.objects {
				for _, r := range a.objects[name].runs {
					s.spans[r.partition] = append(s.spans[r.partition], placed{slot.seq, name, r.base, r.next})
				}
			}
		}
	}
	for _, t := range a.image.Topics() {
		for i, state := range t.Partitions {
			a.continuous(id.Partition{Topic: t.ID, Index: int32(i)}, state)
		}
	}
	return nil
}

// lastSlot is above every slot: all of a stream.
const lastSlot = 1<<64 - 1

// tails are the streams that may have records of a partition, oldest first, that of its leader last.
func (a *auditor) tails(state metalog.PartitionState) []metalog.Tail {
	tails := slices.Clone(state.Tails)
	leader, ok := a.image.Broker(state.Leader)
	if !ok {
		return tails
	}
	if _, ok := a.streams[leader.Incarnation]; !ok {
		return tails
	}
	if n := len(tails); n > 0 && tails[n-1].Session == leader.Incarnation {
		tails = tails[:n-1]
	}
	return append(tails, metalog.Tail{Session: leader.Incarnation, Through: lastSlot})
}

func (a *auditor) continuous(p id.Partition, state metalog.PartitionState) {
	end := a.ends[p]
	sealed := end
	for _, tail := range a.tails(state) {
		s, ok := a.streams[tail.Session]
		if !ok {
			continue
		}
		for _, at := range s.spans[p] {
			if at.seq > tail.Through {
				break
			}
			if at.base > end {
				f := a.at(Finding{Severity: Damage, Check: "continuity", Object: at.object, Session: string(tail.Session), Slot: &at.seq}, p, end)
				f.What = fmt.Sprintf("offsets %d to %d are neither in the chain nor in a stream", end, at.base-1)
				a.find(f)
			}
			end = max(end, at.next)
		}
	}
	a.report.Unsealed += int64(end - sealed)
	if end < state.Start {
		f := a.at(Finding{Severity: Damage, Check: "continuity"}, p, end)
		f.What = fmt.Sprintf("the log starts at %d, and what is there ends at %d", state.Start, end)
		a.find(f)
	}
}
