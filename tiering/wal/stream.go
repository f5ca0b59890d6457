package wal

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/pause"
	"github.com/forebaylog/forebay/infra/slotlog"
	"github.com/forebaylog/forebay/infra/tracing"
	"github.com/forebaylog/forebay/tiering/pack"
)

// ObjectPrefix begins the names of WAL objects and indexes.
const ObjectPrefix = "wal/"

// StreamConfig says where a stream is and how it may use the store. The zero value of a
// setting selects its default.
type StreamConfig struct {
	Slots   *slotlog.Log   // of the session; see Slots
	Objects objstore.Store // of WAL objects
	Cluster string
	Session id.Session
	Node    id.Broker

	// Rate is the budget of chunks per second that leave before they are full: 10; with
	// tokens to spare a chunk leaves at once. Negative: no budget. Full chunks leave
	// without one.
	Rate float64
	// MaxChunk is the size of a full chunk in bytes: 8 MiB. A single batch may exceed it.
	MaxChunk int64
	// InFlight is how many uploads are under way at once: 4. A stream holds at most
	// InFlight chunks twice, as batches and as objects.
	InFlight int
	// Small is how many uploads may be under way for a chunk that is not full to join them: 2.
	// While there are more, what comes gathers.
	Small int
	// IndexEvery is how many objects are committed from one index to the next: 64.
	IndexEvery int
	// Await returns nil when the lease of the session is valid, waits while it is not, and
	// fails when it is lost: nothing is acknowledged meanwhile. Nil: it always is.
	Await func(context.Context) error
	// OnPut and OnSlot, if not nil, are told how long each object took to be stored and each
	// slot to be taken, retries included. They must not block.
	OnPut, OnSlot func(time.Duration)
	Tracer        *tracing.Tracer // nil: no spans
	Now           func() time.Time
	Logger        *slog.Logger
}

func (c StreamConfig) withDefaults() StreamConfig {
	if c.Rate == 0 {
		c.Rate = 10
	}
	if c.MaxChunk <= 0 {
		c.MaxChunk = 8 << 20
	}
	if c.InFlight <= 0 {
		c.InFlight = 4
	}
	if c.Small <= 0 {
		c.Small = 2
	}
	if c.IndexEvery <= 0 {
		c.IndexEvery = 64
	}
	if c.Await == nil {
		c.Await = func(context.Context) error { return nil }
	}
	if c.OnPut == nil {
		c.OnPut = func(time.Duration) {}
	}
	if c.OnSlot == nil {
		c.OnSlot = func(time.Duration) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Stream is the sink of a session: each chunk becomes an object, in the format of packs,
// and the objects become committed in order, each by a slot of the session's stream.
//
// Commit point of a chunk: its slot. A crash before it leaves at most an object that no
// slot names; after it whoever takes over reads the chunk. The slot is taken only after
// the object is stored, and the chunk is acknowledged only after the slot, while the
// lease is valid. A stream whose slot another has taken is fenced: it fails, and with it
// its Group.
//
// The producers in a WAL object's footer are those of the run's own batches only: what
// producers.Table.Merge brings together.
type Stream struct {
	cfg    StreamConfig
	budget budget // of the Group's goroutine

	uploading chan struct{} // holds one for each upload under way
	wakeGroup chan struct{} // an upload has ended
	progress  chan struct{} // there may be something for the committer
	buffers   sync.Pool

	life context.Context // of uploads and commits
	end  context.CancelFunc
	work sync.WaitGroup

	releasing sync.Mutex // one Release at a time

	mu       sync.Mutex
	queue    []*upload // in order of Commit
	next     uint64    // the next slot
	kept     []indexed // committed and not released, oldest first
	keptTail int64     // bytes of their footers
	latest   indexState
	ended    error // why nothing is committed any more, once the queue is answered
	stats    StreamStats
}

// indexState is how the stream's index is doing.
type indexState struct {
	busy    bool
	since   int        // objects committed since the last was begun
	ready   *ObjectRef // stored and in no slot yet
	current *ObjectRef // named by the newest slot that names one
	seq     uint64     // of that slot
}

// upload is one chunk on its way.
type upload struct {
	name   string
	body   *bytes.Buffer
	size   int64
	tail   []byte // its footer and trailer
	began  time.Time
	span   *tracing.Span
	stored bool // or failed, with err
	err    error
	done   func(error)
}

// StreamStats are counts since the stream was opened, and sizes now.
type StreamStats struct {
	Objects      int64 // stored
	Bytes        int64 // in them
	Slots        int64 // taken
	Indexes      int64 // stored
	PutRetries   int64
	SlotRetries  int64
	Released     int64         // objects
	PutTime      time.Duration // from the start of the uploads to their end, summed
	CommitTime   time.Duration // of slots, summed
	Kept         int           // objects committed and not released
	KeptTails    int64         // bytes of their footers
	InFlight     int           // uploads under way
	LastSlot     uint64
	LastSlotTime time.Time
}

// The spans of a Stream.
const (
	spanPut  = "wal.put"  // of an object, below that of its group: it is built and stored
	spanSlot = "wal.slot" // a slot is taken, linked to the objects that it commits
)

// OpenStream starts the stream of a new session, which has no slot yet. It must be
// closed, after the Group that it is the sink of.
func OpenStream(cfg StreamConfig) *Stream {
	cfg = cfg.withDefaults()
	s := &Stream{
		cfg: cfg, budget: budget{rate: cfg.Rate, last: cfg.Now()}, next: firstSlot,
		uploading: make(chan struct{}, cfg.InFlight), wakeGroup: make(chan struct{}, 1), progress: make(chan struct{}, 1),
	}
	s.budget.tokens = max(cfg.Rate, 1)
	s.buffers.New = func() any { return new(bytes.Buffer) }
	s.life, s.end = context.WithCancel(context.Background())
	s.work.Go(s.commitLoop)
	return s
}

// Sizes implements Sink.
func (s *Stream) Sizes() (eager, most int64) { return s.cfg.MaxChunk, s.cfg.MaxChunk }

// Wake implements Sink.
func (s *Stream) Wake() <-chan struct{} { return s.wakeGroup }

// Ready implements Sink: there must be room for an upload and, unless the chunk is full, a token.
func (s *Stream) Ready(queued int64) (bool, time.Duration) {
	full, busy := queued >= s.cfg.MaxChunk, len(s.uploading)
	if busy == cap(s.uploading) || !full && busy >= s.cfg.Small {
		return false, time.Second // woken when one ends
	}
	if full {
		return true, 0
	}
	wait := s.budget.wait(s.cfg.Now())
	return wait <= 0, wait
}

// Commit implements Sink. It waits while InFlight uploads are under way.
func (s *Stream) Commit(ctx context.Context, c Chunk, done func(error)) {
	u := &upload{done: done, began: s.cfg.Now()}
	s.budget.take(u.began)
	_, u.span = s.cfg.Tracer.Start(ctx, spanPut)
	select {
	case s.uploading <- struct{}{}:
		if u.err = s.build(u, c); u.err != nil {
			<-s.uploading
		}
	case <-ctx.Done():
		u.err = fmt.Errorf("upload %d bytes: %w", c.Bytes, context.Cause(ctx))
	case <-s.life.Done():
		u.err = ErrClosed
	}
	if u.err != nil {
		u.span.End(u.err)
	}
	if ended := s.enqueue(u); ended != nil {
		u.span.End(ended)
		done(ended)
	}
}

// enqueue hands an upload to the committer, unless the stream has ended: then it returns why.
func (s *Stream) enqueue(u *upload) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		if u.err == nil {
			<-s.uploading
		}
		return s.ended
	}
	s.queue = append(s.queue, u)
	if u.err != nil {
		u.stored = true
		wake(s.progress)
		return nil
	}
	s.work.Go(func() { s.put(u) })
	return nil
}

// build makes the object of a chunk.
func (s *Stream) build(u *upload, c Chunk) error {
	u.name = fmt.Sprintf("%s%s/%013d-%s.pack", ObjectPrefix, s.cfg.Session, u.began.UnixMilli(), strings.ToLower(rand.Text()[:16]))
	u.body, _ = s.buffers.Get().(*bytes.Buffer) // the pool holds nothing else
	u.body.Reset()
	w := pack.NewWriter(u.body, pack.Header{Cluster: s.cfg.Cluster, Session: string(s.cfg.Session), Node: s.cfg.Node, Created: u.began})
	if err := writeRuns(w, c); err != nil {
		return fmt.Errorf("pack %d bytes: %w", c.Bytes, err)
	}
	tail, err := pack.Tail(u.body.Bytes())
	if err != nil {
		return err
	}
	u.size, u.tail = int64(u.body.Len()), bytes.Clone(tail)
	return nil
}

// Backoff of uploads and slots that fail.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// retry calls f again and again, with growing pauses between, until it succeeds, the stream
// is fenced or its life ends, and returns what f did last. It tells failed of each other failure,
// and says of fewer and fewer of them whether they are to be logged.
func (s *Stream) retry(f func() error, failed func(err error, loud bool)) error {
	for n, wait := 1, minBackoff; ; n, wait = n+1, min(2*wait, maxBackoff) {
		err := f()
		if err == nil || errors.Is(err, ErrFenced) || s.life.Err() != nil {
			return err
		}
		failed(err, n&(n-1) == 0)
		if pause.For(s.life, wait) != nil {
			return err
		}
	}
}

// put uploads an object, again and again while the stream lives: an object that is not
// stored holds up all that follow.
func (s *Stream) put(u *upload) {
	err := s.retry(func() error {
		err := s.cfg.Objects.Put(s.life, u.name, bytes.NewReader(u.body.Bytes()))
		if errors.Is(err, objstore.ErrExists) {
			return nil // an attempt that was told as failed: nobody else has the name
		}
		return err
	}, func(err error, loud bool) {
		s.count(func(st *StreamStats) { st.PutRetries++ })
		if loud {
			s.cfg.Logger.Warn("cannot store a WAL object, trying again", "object", u.name, "bytes", u.size, "error", err)
		}
	})
	if err != nil { // the stream has ended
		err = fmt.Errorf("store WAL object %s: %w: %w", u.name, ErrClosed, err)
	}
	s.buffers.Put(u.body)
	u.span.End(err)
	s.mu.Lock()
	u.body, u.stored, u.err = nil, true, err
	if err == nil {
		s.stats.Objects++
		s.stats.Bytes += u.size
		took := s.cfg.Now().Sub(u.began)
		s.stats.PutTime += took
		s.cfg.OnPut(took)
	}
	s.mu.Unlock()
	<-s.uploading
	wake(s.progress)
	wake(s.wakeGroup)
}

// Close ends the stream and waits for its goroutines, or until ctx ends. What is not
// committed by then fails. Its Group should be closed before, unless nothing that it still
// has counts. It may be called more than once.
func (s *Stream) Close(ctx context.Context) error {
	s.end()
	done := make(chan struct{})
	go func() { s.work.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close stream: %w", context.Cause(ctx))
	}
}

// Through is the sequence of the last slot that the stream has taken, 0 before the first.
func (s *Stream) Through() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next - 1
}

// Stats returns the counts.
func (s *Stream) Stats() StreamStats { return s.count(func(*StreamStats) {}) }

func (s *Stream) count(f func(*StreamStats)) StreamStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
	st := s.stats
	st.Kept, st.KeptTails, st.InFlight, st.LastSlot = len(s.kept), s.keptTail, len(s.uploading), s.next-1
	return st
}
