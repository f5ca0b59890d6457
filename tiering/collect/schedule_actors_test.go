package collect_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/slotlog"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/collect"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/wal"
)

// leads returns a partition that the session leads, by luck; nil if there is none.
func (a *actor) leads(s *session) (p *part, end id.Offset) {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	var led []*part
	for _, p := range a.w.parts {
		if p.leader == s && !p.deleted {
			led = append(led, p)
		}
	}
	if len(led) == 0 {
		return nil, 0
	}
	p = led[time.Now().Nanosecond()%len(led)]
	return p, s.known[p]
}

// produce commits batches to the session's stream until that is fenced.
func (a *actor) produce(s *session) {
	for a.goesOn(40 * time.Minute) {
		p, base := a.leads(s)
		if p == nil {
			continue
		}
		r := run{p, base, base + id.Offset(1+a.draw(9))}
		name, size, err := a.upload(a.w.ctx, "wal/"+s.id.String()+"/", r)
		if err != nil {
			continue // an orphan, perhaps
		}
		a.w.mu.Lock()
		a.w.runs[name] = r
		a.w.mu.Unlock()
		payload, err := json.Marshal(wal.Slot{Version: 1, Objects: []wal.ObjectRef{{Name: name, Size: size}}})
		if err != nil {
			a.w.violated("%v", err)
			return
		}
		for err = errBadLuck; err != nil; {
			time.Sleep(time.Second)
			if err = wal.Slots(a.table, s.id).AppendOwned(a.w.ctx, s.next, payload); errors.Is(err, slotlog.ErrTaken) || a.isFenced(s) {
				return
			}
		}
		s.next++
		a.w.mu.Lock()
		s.known[p] = max(s.known[p], r.next)
		p.committed = max(p.committed, r.next)
		a.w.taken[name] = true
		a.w.mu.Unlock()
	}
}

func (a *actor) isFenced(s *session) bool {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	return s.fenced
}

// seal moves what the session knows to be committed into packs, also after it has lost its
// partitions.
func (a *actor) seal(s *session) {
	for a.goesOn(40 * time.Minute) {
		ctx, cancel := context.WithTimeout(a.w.ctx, chain.CommitWithin)
		a.sealOnce(ctx, s)
		cancel()
	}
}

func (a *actor) sealOnce(ctx context.Context, s *session) {
	var runs []run
	for _, p := range a.w.partsOf(s) {
		end, _, _, err := a.chains.End(ctx, p.p)
		a.w.mu.Lock()
		known := s.known[p]
		a.w.mu.Unlock()
		if err == nil && end < known && a.adoptable(ctx, p, end, known) {
			runs = append(runs, run{p, end, min(known, end+id.Offset(1+a.draw(12)))})
		}
	}
	if len(runs) == 0 {
		return
	}
	name, size, err := a.upload(ctx, chain.ObjectPrefix, runs...)
	if err != nil {
		return
	}
	links := make([]chain.Link, len(runs))
	for i, r := range runs {
		links[i] = chain.Link{Partition: r.p.p, AtEnd: true, Segment: segmentOf(r, name, size)}
	}
	a.chains.Append(ctx, links)
}

func segmentOf(r run, name string, size int64) chain.Segment {
	return chain.Segment{Base: r.base, Next: r.next, Object: name, ObjectSize: size, Length: 1, Records: 1}
}

// adoptable reads the WAL objects from end on, as who takes over does, and reports whether
// none of those is gone that nobody has sealed.
func (a *actor) adoptable(ctx context.Context, p *part, end, known id.Offset) bool {
	a.w.mu.Lock()
	var names []string
	for name, r := range a.w.runs {
		if a.w.taken[name] && r.p == p && r.base < known && r.next > end {
			names = append(names, name)
		}
	}
	a.w.mu.Unlock()
	slices.Sort(names)
	for _, name := range names {
		if _, err := a.objects.ReadAt(ctx, name, make([]byte, 1), 0); errors.Is(err, objstore.ErrNotFound) {
			return false
		}
	}
	return true
}

func (w *stage) partsOf(s *session) []*part {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ps []*part
	for _, p := range w.parts { // in order, not that of the map
		if _, ok := s.known[p]; ok {
			ps = append(ps, p)
		}
	}
	return ps
}

// takeovers declares sessions dead, fences their streams and gives their partitions to others.
func (w *stage) takeovers(a *actor) {
	for a.goesOn(3 * time.Hour) {
		w.mu.Lock()
		var alive []*session
		for _, s := range w.sessions {
			if !s.fenced {
				alive = append(alive, s)
			}
		}
		w.mu.Unlock()
		s := alive[a.draw(int64(len(alive)))]
		if _, err := wal.Fence(w.ctx, wal.Slots(a.table, s.id), 1); err != nil {
			continue
		}
		w.fenced(s)
		w.newSession()
		w.deal()
	}
}

// fenced takes note of all that a session has committed.
func (w *stage) fenced(s *session) {
	slots := wal.Slots(w.table, s.id)
	first, err := slots.First(w.ctx)
	if err != nil {
		w.violated("%v", err)
	}
	raw, err := slots.Read(w.ctx, first, 0)
	if err != nil {
		w.violated("%v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range raw {
		slot, err := wal.DecodeSlot(one.Payload)
		if err != nil {
			w.wrong = err
			return
		}
		for _, o := range slot.Objects {
			r := w.runs[o.Name]
			r.p.committed = max(r.p.committed, r.next)
			w.taken[o.Name] = true
		}
	}
	s.fenced = true
	for _, p := range w.parts {
		if p.leader == s {
			p.leader = nil
		}
	}
}

// retention moves log starts, up to what is sealed.
func (w *stage) retention(a *actor) {
	for a.goesOn(2 * time.Hour) {
		for _, p := range w.live() {
			end, _, _, err := a.chains.End(w.ctx, p.p)
			if err != nil || end <= p.start || a.draw(2) == 0 {
				continue
			}
			start := p.start + id.Offset(1+a.draw(int64(end-p.start)))
			w.mu.Lock()
			for _, q := range w.parts {
				if q.p == p.p && !q.deleted && q.start < start {
					q.start = start
					w.record(metalog.LogStartsMoved{Moves: []metalog.StartMove{{Partition: p.p, Start: start}}})
				}
			}
			w.mu.Unlock()
		}
	}
}

// topics deletes a topic now and then, and makes another.
func (w *stage) topics(a *actor) {
	for a.goesOn(8 * time.Hour) {
		w.mu.Lock()
		p := w.parts[a.draw(int64(len(w.parts)))]
		if !p.deleted {
			p.deleted = true
			w.record(metalog.TopicDeleted{ID: p.p.Topic})
		}
		w.mu.Unlock()
		w.newTopic()
		w.deal()
	}
}

// release releases the streams of fenced sessions.
func (w *stage) release(a *actor) {
	for a.goesOn(time.Hour) {
		w.mu.Lock()
		sessions := w.sessions
		w.mu.Unlock()
		for _, s := range sessions {
			if a.isFenced(s) && !s.over {
				_ = w.releaseStream(s, wal.Slots(a.table, s.id), a.objects, a.chains) // else later
			}
		}
	}
}

func (w *stage) releaseStream(s *session, slots *slotlog.Log, objects objstore.Store, chains *chain.Store) error {
	list, err := w.listStream(slots)
	if err != nil {
		return err
	}
	empty, err := wal.ReleaseStream(w.ctx, slots, objects, s.id, list, func(ctx context.Context, p id.Partition) (id.Offset, error) {
		if _, ok := w.image().Partition(p); !ok {
			return wal.Everything, nil
		}
		end, _, _, err := chains.End(ctx, p)
		return end, err
	})
	if err != nil || !empty {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.over = true
	w.record(metalog.StreamsReleased{Sessions: []id.Session{s.id}})
	return nil
}

func (w *stage) listStream(slots *slotlog.Log) ([]wal.Object, error) {
	first, err := slots.First(w.ctx)
	if err != nil {
		return nil, err
	}
	raw, err := slots.Read(w.ctx, first, 0)
	if err != nil {
		return nil, err
	}
	var list []wal.Object
	for _, one := range raw {
		slot, err := wal.DecodeSlot(one.Payload)
		if err != nil {
			return nil, err
		}
		for _, o := range slot.Objects {
			w.mu.Lock()
			r := w.runs[o.Name]
			w.mu.Unlock()
			footer := &pack.Footer{Runs: []pack.Run{{Partition: r.p.p, Base: r.base, Next: r.next}}}
			list = append(list, wal.Object{ObjectRef: o, Seq: one.Seq, Footer: footer})
		}
	}
	return list, nil
}

// rewriter puts one segment in the place of several.
func (w *stage) rewriter(a *actor) {
	for a.goesOn(time.Hour) {
		live := w.live()
		if len(live) == 0 {
			continue
		}
		p := live[a.draw(int64(len(live)))]
		ctx, cancel := context.WithTimeout(w.ctx, chain.CommitWithin)
		a.rewrite(ctx, &p)
		cancel()
	}
}

func (a *actor) rewrite(ctx context.Context, p *part) {
	items, err := a.chains.Items(ctx, p.p)
	if err != nil {
		return
	}
	canonical, _, err := chain.Canonical(items, p.start)
	if err != nil || len(canonical) < 2 {
		return
	}
	from := int(a.draw(int64(len(canonical) - 1)))
	old := canonical[from : from+1+int(a.draw(int64(min(4, len(canonical)-1-from))))]
	for _, item := range old {
		err := a.w.readSegment(a.objects, p.p, item.Segment)
		if errors.Is(err, objstore.ErrNotFound) && ctx.Err() == nil {
			a.w.violated("item %d of %s counted less than %v ago, and its object %s is gone", item.Base, p.p, chain.CommitWithin, item.Object)
		}
		if err != nil {
			return
		}
	}
	r := run{p, old[0].Base, old[len(old)-1].Next}
	seg := chain.Segment{Base: r.base, Next: r.next}
	if a.draw(5) > 0 {
		name, size, err := a.upload(ctx, chain.ObjectPrefix, r)
		if err != nil {
			return
		}
		seg = segmentOf(r, name, size)
	}
	_ = a.chains.Replace(ctx, p.p, old, seg) // or another was faster
}

// reader finds a segment and takes its time before it reads it.
func (w *stage) reader(a *actor) {
	for a.goesOn(time.Hour) {
		for _, p := range w.live() {
			if end, _, _, err := w.chains.End(w.ctx, p.p); err != nil || end <= p.start {
				continue
			} else if off := p.start + id.Offset(a.draw(int64(end-p.start))); !a.read(&p, off) {
				items, _ := w.chains.Items(w.ctx, p.p)
				w.violated("offset %d of %s cannot be read; the chain is %v", off, p.p, spans(items))
			}
		}
	}
}

// read reports whether an offset can be read, or is gone as it may be.
func (a *actor) read(p *part, off id.Offset) bool {
	for attempt := range 3 {
		seg, err := a.w.chains.Find(a.w.ctx, p.p, off)
		if attempt < 2 {
			delay(a.draw)
		}
		if err == nil {
			err = a.w.readSegment(a.w.objects, p.p, seg)
		}
		if err == nil {
			return true
		}
		if state, ok := a.w.image().Partition(p.p); !ok || state.Start > off {
			return true
		}
	}
	return false
}

// collector looks again and again, and is now and then stopped amid.
func (w *stage) collector(a *actor) {
	for a.goesOn(50 * time.Minute) {
		ctx, cancel := w.ctx, func() {}
		if a.draw(5) == 0 {
			ctx, cancel = context.WithTimeout(w.ctx, time.Duration(a.draw(int64(time.Hour))))
		}
		_, err := collect.New(collect.Config{
			Metadata: a.table, Objects: a.objects, Rate: -1, Grace: grace, Window: int(max(a.draw(60)-30, 0)), // at once, or bit by bit
			Image: func(context.Context) (*metalog.Image, error) {
				image := w.image()
				delay(a.draw)
				return image, nil
			},
		}).Run(ctx)
		cancel()
		w.looks.Add(1)
		if err != nil {
			w.failed.Add(1)
		}
		if errors.Is(err, collect.ErrInvalid) || errors.Is(err, collect.ErrForeign) || errors.Is(err, io.ErrUnexpectedEOF) {
			w.violated("%v", err)
		}
	}
}

// sealRest seals what is committed and in no chain.
func (w *stage) sealRest() error {
	for _, p := range w.live() {
		end, _, _, err := w.chains.End(w.ctx, p.p)
		if err != nil || end >= p.committed {
			if err != nil {
				return err
			}
			continue
		}
		r := run{&p, end, p.committed}
		name := fmt.Sprintf("%srest-%d", chain.ObjectPrefix, w.number())
		if err := w.objects.Put(w.ctx, name, strings.NewReader(r.String())); err != nil {
			return err
		}
		if err := w.chains.Append(w.ctx, []chain.Link{{Partition: p.p, Segment: segmentOf(r, name, int64(len(r.String())))}})[0]; err != nil {
			return err
		}
	}
	return nil
}

// releaseAll fences and releases all streams.
func (w *stage) releaseAll() error {
	for _, s := range w.sessions {
		slots := wal.Slots(w.table, s.id)
		if !s.fenced {
			if _, err := wal.Fence(w.ctx, slots, 1); err != nil {
				return err
			}
			w.fenced(s)
		}
		if err := w.sealRest(); err != nil {
			return err
		}
		if err := w.releaseStream(s, slots, w.objects, w.chains); err != nil {
			return err
		}
	}
	return nil
}

// spans tells what the items of a chain cover.
func spans(items []chain.Item) []string {
	all := make([]string, len(items))
	for i, item := range items {
		all[i] = fmt.Sprintf("%d-%d", item.Base, item.Next)
	}
	return all
}
