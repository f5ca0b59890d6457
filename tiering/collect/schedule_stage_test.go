package collect_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/wal"
)

// stage is where a schedule is played: the stores, and what is true beside them. The stores
// of the stage itself do what they are told; actors have their own, which do not.
type stage struct {
	ctx     context.Context //nolint:containedctx // of the test
	seed    uint64
	ends    time.Time
	table   kv.Store       // checks removals of items
	objects objstore.Store // checks removals of objects
	chains  *chain.Store
	actors  sync.WaitGroup

	removed, looks, failed atomic.Int64

	mu       sync.Mutex
	count    uint64 // of topics, sessions and objects
	started  uint64 // actors
	records  []metalog.Record
	folded   *metalog.Image
	foldedAt int
	parts    []*part
	sessions []*session
	runs     map[string]run  // of the WAL objects
	taken    map[string]bool // those of them that are known to be in a slot
	wrong    error           // the first violation
}

// part is a partition, and the truth about it.
type part struct {
	p                id.Partition
	leader           *session
	committed, start id.Offset
	deleted          bool
}

// session is a run of a broker.
type session struct {
	id     id.Session
	next   uint64              // slot
	known  map[*part]id.Offset // where the logs end that it leads or has led, as far as it knows
	fenced bool
	over   bool // released
}

// run is a run of offsets in an object.
type run struct {
	p          *part
	base, next id.Offset
}

func (r run) String() string { return fmt.Sprintf("[%s %d %d]", r.p.p, r.base, r.next) }

func newStage(ctx context.Context, seed uint64) *stage {
	w := &stage{ctx: ctx, seed: seed, ends: time.Now().Add(lifetime), runs: map[string]run{}, taken: map[string]bool{}}
	w.table = &checkedTable{kv.NewMem(), w}
	w.objects = &checkedObjects{objstore.NewMem(), w}
	w.chains = chain.Open(w.table)
	return w
}

func (w *stage) violation() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrong
}

func (w *stage) violated(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong == nil {
		w.wrong = fmt.Errorf(format, args...)
	}
}

func (w *stage) number() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	return w.count
}

func (w *stage) imageLocked() *metalog.Image {
	if w.folded == nil || w.foldedAt != len(w.records) {
		w.folded, w.foldedAt = metalog.NewImage("c", w.records...), len(w.records)
	}
	return w.folded
}

func (w *stage) freshImage(context.Context) (*metalog.Image, error) { return w.image(), nil }

func (w *stage) record(r metalog.Record) { w.records = append(w.records, r) } // mu is held

func (w *stage) newTopic() *part {
	n := w.number()
	w.mu.Lock()
	defer w.mu.Unlock()
	var t id.Topic
	t[0], t[14], t[15] = 0x40, byte(n>>8), byte(n)
	p := &part{p: id.Partition{Topic: t}}
	w.parts = append(w.parts, p)
	w.record(metalog.TopicCreated{ID: t, Name: fmt.Sprint("t", n), ReplicationFactor: 1, Partitions: make([]metalog.Assignment, 1)})
	return p
}

// newSession starts a broker.
func (w *stage) newSession() *session {
	n := w.number()
	w.mu.Lock()
	s := &session{id: id.Session(fmt.Sprintf("session-%014d", n)), next: 1, known: map[*part]id.Offset{}}
	w.sessions = append(w.sessions, s)
	w.record(metalog.BrokerRegistered{ID: id.Broker(n), Incarnation: s.id})
	w.mu.Unlock()
	w.start(func(a *actor) { a.produce(s) })
	w.start(func(a *actor) { a.seal(s) })
	return s
}

// deal gives each partition without a leader one of the sessions that live.
func (w *stage) deal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, p := range w.parts {
		if p.deleted || p.leader != nil {
			continue
		}
		for ; p.leader == nil; n++ {
			if s := w.sessions[n%len(w.sessions)]; !s.fenced {
				p.leader, s.known[p] = s, p.committed
			}
		}
	}
}

// live returns copies of the partitions there are.
func (w *stage) live() []part {
	w.mu.Lock()
	defer w.mu.Unlock()
	var live []part
	for _, p := range w.parts {
		if !p.deleted {
			live = append(live, *p)
		}
	}
	return live
}

// readSegment makes sure that the object of a segment has its records.
func (w *stage) readSegment(s objstore.Store, p id.Partition, seg chain.Segment) error {
	if seg.Empty() {
		return nil
	}
	b := make([]byte, seg.ObjectSize)
	if _, err := s.ReadAt(w.ctx, seg.Object, b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if want := (run{&part{p: p}, seg.Base, seg.Next}).String(); !strings.Contains(string(b), want) {
		w.violated("object %s has %q, not %s", seg.Object, b, want)
	}
	return nil
}

// named returns who names an object and counts, "" if nobody does.
func (w *stage) named(object string) string {
	image := w.image()
	ps, err := w.chains.Partitions(w.ctx)
	if err != nil {
		return err.Error()
	}
	for _, p := range ps {
		state, ok := image.Partition(p)
		if !ok || !strings.HasPrefix(object, chain.ObjectPrefix) {
			continue
		}
		items, err := w.chains.Items(w.ctx, p)
		if err != nil {
			return err.Error()
		}
		canonical, _, err := chain.Canonical(items, state.Start)
		if err != nil {
			return err.Error()
		}
		for _, item := range canonical {
			if item.Object == object {
				return fmt.Sprintf("item %d of %s", item.Base, p)
			}
		}
	}
	if !strings.HasPrefix(object, wal.ObjectPrefix) {
		return ""
	}
	for _, stream := range image.Streams() {
		slots := wal.Slots(w.table, stream.Session)
		first, err := slots.First(w.ctx)
		if err != nil {
			return err.Error()
		}
		raw, err := slots.Read(w.ctx, first, 0)
		if err != nil {
			return err.Error()
		}
		for _, slot := range raw {
			if strings.Contains(string(slot.Payload), `"`+object+`"`) {
				return fmt.Sprintf("slot %d of %s", slot.Seq, stream.Session)
			}
		}
	}
	return ""
}

// checkedObjects looks at what is removed.
type checkedObjects struct {
	*objstore.Mem
	w *stage
}

func (c *checkedObjects) Delete(ctx context.Context, key string) error {
	if who := c.w.named(key); who != "" {
		c.w.violated("object %s was removed, which %s names", key, who)
	}
	if strings.HasPrefix(key, chain.ObjectPrefix) {
		c.w.removed.Add(1)
	}
	return c.Mem.Delete(ctx, key)
}

// checkedTable looks at the chains of which an item was removed.
type checkedTable struct {
	kv.Store
	w *stage
}

func (c *checkedTable) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	results := c.Store.Write(ctx, writes...)
	for i, write := range writes {
		topic, ok := strings.CutPrefix(write.Key.Part, "chain/")
		if !ok || !write.Delete || results[i].Err != nil {
			continue
		}
		c.w.removed.Add(1)
		t, err := id.ParseTopic(strings.TrimSuffix(topic, "/0"))
		if err != nil {
			c.w.violated("%v", err)
			continue
		}
		p := id.Partition{Topic: t}
		state, ok := c.w.image().Partition(p)
		if !ok {
			continue
		}
		items, err := c.w.chains.Items(ctx, p)
		if err == nil {
			_, _, err = chain.Canonical(items, state.Start)
		}
		if err != nil || len(items) == 0 {
			c.w.violated("item %v was removed: %d are left: %v", write.Key, len(items), err)
		}
	}
	return results
}
