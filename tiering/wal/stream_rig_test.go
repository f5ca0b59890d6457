package wal_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/slotlog"
	"github.com/forebaylog/forebay/infra/tracing"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/wal"
)

const (
	testSession id.Session = "session-of-the-tests--"
	fencer      id.Broker  = 9
)

// streamRig is a Group over a Stream, on stores in memory that fail as they are told to.
type streamRig struct {
	t       testing.TB
	mem     *kv.Mem
	bucket  *objstore.Mem
	journal *journal.Journal
	stream  *wal.Stream
	group   *wal.Group

	mu      sync.Mutex
	onTable func(kv.Op) kv.Fault
	onStore func(objstore.Op) error
	next    map[id.Partition]id.Offset
	answers []*appended // in order
	n       int
	span    *tracing.Span // of what is appended
}

// newStreamRig starts a stream without a budget: what is appended leaves at once.
func newStreamRig(t testing.TB, change ...func(*wal.StreamConfig, *wal.Config)) *streamRig {
	r := &streamRig{t: t, mem: kv.NewMem(), bucket: objstore.NewMem(), journal: openJournal(t, vfs.NewMem()), next: map[id.Partition]id.Offset{}}
	r.onTable, r.onStore = func(kv.Op) kv.Fault { return kv.FaultNone }, func(objstore.Op) error { return nil }
	cfg := wal.StreamConfig{
		Small: 4, // as many as may be under way
		Slots: wal.Slots(kv.Inject(r.mem, r.tableFault), testSession), Objects: objstore.Inject(r.bucket, r.storeFault),
		Cluster: "c", Session: testSession, Node: 1, Rate: -1,
	}
	group := wal.Config{}
	for _, f := range change {
		f(&cfg, &group)
	}
	r.stream = wal.OpenStream(cfg)
	r.group = wal.New(r.journal, r.stream, group)
	return r
}

// inBubble runs test with a rig in a bubble whose clock jumps.
func inBubble(t *testing.T, test func(t *testing.T, r *streamRig), change ...func(*wal.StreamConfig, *wal.Config)) {
	synctest.Test(t, func(t *testing.T) {
		r := newStreamRig(t, change...)
		defer r.stop()
		test(t, r)
	})
}

// stop closes everything; a group that has failed says so.
func (r *streamRig) stop() {
	r.faults(nil, nil)
	ctx := context.Background()
	_ = r.group.Close(ctx) // tests of failures look at Err
	require.NoError(r.t, r.stream.Close(ctx))
	_ = r.journal.Close(ctx) // may be closed already
}

// faults sets what fails from now on; nil: nothing.
func (r *streamRig) faults(table func(kv.Op) kv.Fault, store func(objstore.Op) error) {
	if table == nil {
		table = func(kv.Op) kv.Fault { return kv.FaultNone }
	}
	if store == nil {
		store = func(objstore.Op) error { return nil }
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onTable, r.onStore = table, store
}

func (r *streamRig) tableFault(op kv.Op) kv.Fault {
	r.mu.Lock()
	f := r.onTable
	r.mu.Unlock()
	return f(op)
}

func (r *streamRig) storeFault(op objstore.Op) error {
	r.mu.Lock()
	f := r.onStore
	r.mu.Unlock()
	return f(op)
}

// appended is a batch on its way; it is its own Waiter.
type appended struct {
	r          *streamRig
	p          id.Partition
	base, next id.Offset
	n          int // in the order of Append
	done       chan struct{}
	err        error
	answers    int
	span       *tracing.Span
}

func (a *appended) Written() {}

func (a *appended) Span() *tracing.Span { return a.span }

func (a *appended) Committed(err error) {
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	a.err = err
	a.answers++
	a.r.answers = append(a.r.answers, a)
	close(a.done)
}

// await returns how the batch was answered.
func (a *appended) await() error {
	a.r.t.Helper()
	select {
	case <-a.done:
		return a.err
	case <-time.After(time.Hour):
		a.r.t.Fatalf("batch %d is not answered", a.n)
		return nil
	}
}

// answered reports whether there is an answer by now.
func (a *appended) answered() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// append appends a batch of one record to a partition.
func (r *streamRig) append(p int) (*appended, error) {
	a := &appended{r: r, p: partition(p), n: r.n, base: r.next[partition(p)], done: make(chan struct{}), span: r.span}
	a.next = a.base + 1
	if err := r.group.Append(a.p, newBatch(a.base), a); err != nil {
		return nil, err
	}
	r.n++
	r.next[a.p] = a.next
	return a, nil
}

// chunk appends a batch, and waits until its upload has begun or is stuck.
func (r *streamRig) chunk(p int) *appended {
	r.t.Helper()
	a, err := r.append(p)
	require.NoError(r.t, err)
	synctest.Wait()
	return a
}

// slots is the stream as it is in the table, whatever faults there are.
func (r *streamRig) slots() *slotlog.Log { return wal.Slots(r.mem, testSession) }

// payloads returns the slots of the stream.
func (r *streamRig) payloads() map[uint64]wal.Slot {
	r.t.Helper()
	ctx := context.Background()
	first, err := r.slots().First(ctx)
	require.NoError(r.t, err)
	raw, err := r.slots().Read(ctx, first, 0)
	require.NoError(r.t, err)
	slots := map[uint64]wal.Slot{}
	for _, s := range raw {
		slot, err := wal.DecodeSlot(s.Payload)
		require.NoError(r.t, err)
		slots[s.Seq] = slot
	}
	return slots
}

// ranged is an object of the store as a pack.RangeReader.
type ranged struct {
	store objstore.Store
	name  string
}

func (o ranged) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	return o.store.ReadAt(ctx, o.name, p, off)
}

// footer reads a footer, as a cold.Reader does.
func (r *streamRig) footer(ctx context.Context, object string, size int64) (*pack.Footer, error) {
	return pack.ReadFooter(ctx, ranged{r.bucket, object}, size)
}

// read returns the stream up to a slot.
func (r *streamRig) read(through uint64) []wal.Object {
	r.t.Helper()
	list, err := wal.ReadStream(context.Background(), r.slots(), r.bucket, through, r.footer)
	require.NoError(r.t, err)
	return list
}

// fence ends the stream as a broker that takes over does.
func (r *streamRig) fence() uint64 {
	r.t.Helper()
	through, err := wal.Fence(context.Background(), r.slots(), fencer)
	require.NoError(r.t, err)
	return through
}

// span is the offsets of a partition that a list of objects holds.
type span struct{ base, next id.Offset }

// spans requires that the objects are dense and says what they hold.
func (r *streamRig) spans(list []wal.Object) map[id.Partition]span {
	r.t.Helper()
	got := map[id.Partition]span{}
	for _, o := range list {
		for _, run := range o.Footer.Runs {
			s, ok := got[run.Partition]
			if !ok {
				s = span{run.Base, run.Base}
			}
			require.Equal(r.t, s.next, run.Base, "%s in slot %d", run.Partition, o.Seq)
			got[run.Partition] = span{s.base, run.Next}
		}
	}
	return got
}

// complete requires that the stream up to through holds all that was acknowledged, from sealed on,
// and that the answers came in order and once.
func (r *streamRig) complete(through uint64, sealed map[id.Partition]id.Offset) {
	r.t.Helper()
	got := r.spans(r.read(through))
	r.mu.Lock()
	defer r.mu.Unlock()
	failed := false
	for i, a := range r.answers {
		require.Equal(r.t, i, a.n, "order of answers")
		require.Equal(r.t, 1, a.answers)
		require.False(r.t, failed && a.err == nil, "success after a failure")
		failed = failed || a.err != nil
		if a.err == nil && a.next > sealed[a.p] {
			require.LessOrEqual(r.t, got[a.p].base, a.base, "%s at %d", a.p, a.base)
			require.GreaterOrEqual(r.t, got[a.p].next, a.next, "%s at %d", a.p, a.base)
		}
	}
}

// stored lists the names of the objects in the store.
func (r *streamRig) stored() map[string]bool {
	r.t.Helper()
	names := map[string]bool{}
	for info, err := range r.bucket.List(context.Background(), "", "") {
		require.NoError(r.t, err)
		names[info.Key] = true
	}
	return names
}

// noneMissing requires that the slots that can be read name no object that is gone.
func (r *streamRig) noneMissing() {
	r.t.Helper()
	slots := r.payloads()
	stored := r.stored() // later, for the stream goes on
	for seq, slot := range slots {
		for _, o := range slot.Objects {
			require.True(r.t, stored[o.Name], "slot %d names %s, which is gone", seq, o.Name)
		}
	}
}

// sealedAt is a wal.Sealed.
func sealedAt(ends map[id.Partition]id.Offset) wal.Sealed {
	ends = maps.Clone(ends)
	return func(_ context.Context, p id.Partition) (id.Offset, error) { return ends[p], nil }
}

var errStore = errors.New("no route to the store")
