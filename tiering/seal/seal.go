// Package seal moves what is committed from the hot segments into packs in the
// object store, and releases the hot segments that are no longer needed.
//
// A Sealer gathers the batches of rolled segments, which are durable, from each
// partition's chain end on, streams them into one pack object with one run for
// each partition, and then appends the runs to the partitions' chains. Appending
// an item is the commit point; it comes within chain.CommitWithin of the look at the chain and of
// the begin of the upload, or not at all. A crash before it leaves a pack that no chain
// names, an orphan; a crash between two items leaves the rest to the next round,
// which starts again from each chain's end; a crash after it loses nothing.
// Hot segments are dropped only once all they hold is in the chains, oldest first,
// and only as far as the disk budget asks for: until then they are a cache.
//
// A partition that comes to this broker may have records beyond its chain's end that
// lie in the WAL objects of another broker. Adopt seals these in the same way; until it
// has, the partition is held, and nothing hot of it is sealed.
//
// The package never reads a batch's records, never changes one, and never touches
// the active segment. What it keeps in memory is derived from the chains. A
// partition that cannot be sealed, because its batches are damaged or its chain does
// not answer, keeps its hot segments and does not hold up the others. All methods are
// safe for concurrent use; one round runs at a time.
package seal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/journal"
)

// Errors of this package.
var (
	// ErrHole: offsets are neither in the chain nor where what follows it should be.
	ErrHole = errors.New("offsets are neither sealed nor there to be sealed")
	// ErrClosed: the Sealer was closed.
	ErrClosed = errors.New("sealer closed")
)

// Journal is what the Sealer needs of the hot tier; *journal.Journal has it.
type Journal interface {
	// Segments lists the segments, oldest first.
	Segments() []journal.SegmentInfo
	// Entries lists the batches of p from the one that contains from.
	Entries(p id.Partition, from id.Offset) iter.Seq2[journal.Entry, error]
	// Batch returns one batch, checked.
	Batch(p id.Partition, e journal.Entry) (batch.View, error)
	// Roll finishes the active segment, unless it is empty.
	Roll() error
	// Drop removes a rolled segment.
	Drop(seg id.Segment) error
	// Rolled receives after segments were rolled. Only Run receives from it.
	Rolled() <-chan struct{}
}

// Config of a Sealer. All of Journal, Chain, Objects and Cold must be set; the
// zero value of another field selects its default.
type Config struct {
	Journal Journal
	FS      vfs.FS // where the journal's segment files are: the machine's
	Chain   *chain.Store
	Objects objstore.Store
	Cold    *cold.Reader // reads the footers of earlier packs, and the WAL objects that are adopted

	// DiskBudget is how many bytes the hot segments may take before those that are
	// sealed are dropped: 1 GiB.
	DiskBudget int64
	// MaxPackBytes bounds the batches in one pack: 256 MiB. A single batch may exceed it.
	MaxPackBytes int64
	// Interval is how often Run looks for work when no segment is rolled: 1 s.
	Interval time.Duration
	// ProducerExpiry is how long ago the last batch of a producer may be that a pack still
	// tells of: 24 h. One with an open transaction is always told of.
	ProducerExpiry time.Duration

	Cluster string    // cluster id, for the packs' headers
	Session string    // the broker's session, likewise; may be empty
	Node    id.Broker // this broker, for the packs' headers and names
	Now     func() time.Time
	Logger  *slog.Logger // nil discards

	// Live reports whether there is anything of the partition to be sealed here: it exists
	// and this broker leads it. What is hot of others may be dropped. nil: all are live.
	Live func(id.Partition) bool
	// Valid reports whether what this broker believes to lead it still does; it is asked right before
	// the chains are written. nil: always.
	Valid func() bool
	// Held reports whether what lies below a live partition's hot batches is still to be
	// adopted. What is hot of it is neither sealed nor dropped. nil: none is held.
	Held func(id.Partition) bool
	// Committed returns the offset below which the batches of a live partition are
	// committed. Beyond it they may be none of its log's: another leader may put others in
	// their place, and so they are neither sealed nor dropped. nil: all that is rolled is committed.
	Committed func(id.Partition) id.Offset
	// Sealed is told of each segment that was appended to a chain; nil: nobody is. It must not block.
	Sealed func(id.Partition, chain.Segment)
	// Unwanted returns how many of the hot segments, of which the oldest comes first, nobody wants to be kept
	// hot once they are sealed. They are dropped whatever the disk budget. nil: none.
	Unwanted func(segs []journal.SegmentInfo) int
	// OnRound, if not nil, is told of each round that stored packs or failed how long it took, and
	// its error.
	OnRound func(took time.Duration, err error)
	// AfterPass is called within a round, after it has sealed what it could and unless it was
	// broken off; nil: nothing is. sealedTo returns an offset up to which the partition's
	// chain reaches at least: as last seen for those that are live, else read anew.
	// It is safe for concurrent use and valid until AfterPass returns. An error fails the round.
	AfterPass func(ctx context.Context, sealedTo func(context.Context, id.Partition) (id.Offset, error)) error
}

// defaultDiskBudget is that of Config.DiskBudget, in bytes.
const defaultDiskBudget = 1 << 30

func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.DiskBudget <= 0 {
		c.DiskBudget = defaultDiskBudget
	}
	if c.MaxPackBytes <= 0 {
		c.MaxPackBytes = 256 << 20
	}
	if c.Interval <= 0 {
		c.Interval = time.Second
	}
	if c.ProducerExpiry <= 0 {
		c.ProducerExpiry = 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnRound == nil {
		c.OnRound = func(time.Duration, error) {}
	}
	if c.Live == nil {
		c.Live = func(id.Partition) bool { return true }
	}
	if c.Valid == nil {
		c.Valid = func() bool { return true }
	}
	if c.Held == nil {
		c.Held = func(id.Partition) bool { return false }
	}
	if c.Unwanted == nil {
		c.Unwanted = func([]journal.SegmentInfo) int { return 0 }
	}
	if c.Committed == nil {
		c.Committed = func(id.Partition) id.Offset { return math.MaxInt64 }
	}
	if c.Sealed == nil {
		c.Sealed = func(id.Partition, chain.Segment) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Sealer seals the hot segments of one journal.
type Sealer struct {
	cfg      Config
	controls controls
	again    chan struct{}    // wakes Run after a change of the controls
	clock    func() time.Time // monotonic

	// closing ends the calls under way; calls counts them.
	closing chan struct{}
	calls   sync.WaitGroup

	// The right to run a round, and what belongs to the one that does.
	round  chan struct{}
	tails  map[id.Partition]tail   // ends of chains, as last seen
	sealed map[id.Segment]struct{} // hot segments all of whose batches are in the chains

	mu        sync.Mutex
	closed    bool
	stats     Stats
	forgotten map[id.Partition]struct{} // tails that the next round must not go by
}

// New returns a Sealer that does nothing until Run, SealAll or Adopt is called.
func New(cfg Config) *Sealer {
	s := &Sealer{
		cfg: cfg.withDefaults(), clock: time.Now, closing: make(chan struct{}), again: make(chan struct{}, 1),
		round: make(chan struct{}, 1), tails: map[id.Partition]tail{}, sealed: map[id.Segment]struct{}{},
		forgotten: map[id.Partition]struct{}{},
	}
	s.SetDiskBudget(s.cfg.DiskBudget)
	return s
}

// Run seals segments as they are rolled and releases sealed ones until ctx ends or the Sealer is
// closed, then returns nil. Failures are tried again, less and less often, and
// show in Stats.
func (s *Sealer) Run(ctx context.Context) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var failures int
	for {
		err := s.takeRound(ctx, s.pass)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is the end of Run, not its failure
		}
		wait := s.cfg.Interval
		if failures++; err == nil {
			failures = 0
		} else {
			wait = max(wait, backoff(failures))
		}
		if !s.sleep(ctx, wait, err == nil) {
			return nil
		}
	}
}

// sleep waits for d or, if wakeable, for a segment to be rolled; it reports false once ctx has ended.
func (s *Sealer) sleep(ctx context.Context, d time.Duration, wakeable bool) bool {
	var rolled <-chan struct{}
	if wakeable {
		rolled = s.cfg.Journal.Rolled()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-rolled:
	case <-s.again:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// SealAll rolls the active segment and seals all that is hot, unless sealing is paused, then
// releases what the disk budget asks for. On an error part of it may be sealed.
func (s *Sealer) SealAll(ctx context.Context) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.takeRound(ctx, func(ctx context.Context) error {
		if err := s.cfg.Journal.Roll(); err != nil {
			return fmt.Errorf("roll the active hot segment: %w", err)
		}
		return s.pass(ctx)
	})
}

// Close ends Run, SealAll and Adopt, which may leave an orphan behind, and waits for
// them as long as ctx lets it.
func (s *Sealer) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.calls.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the sealer: %w", ctx.Err())
	}
}

// enter registers a call; its context ends with the Sealer.
func (s *Sealer) enter(parent context.Context) (ctx context.Context, leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, ErrClosed
	}
	ctx, cancel := context.WithCancelCause(parent)
	s.calls.Add(1)
	ended := make(chan struct{})
	s.calls.Go(func() {
		select {
		case <-s.closing:
			cancel(ErrClosed)
		case <-ended:
		}
	})
	return ctx, func() { close(ended); cancel(nil); s.calls.Done() }, nil
}

// takeRound runs f when no other round runs, and notes how it went.
func (s *Sealer) takeRound(ctx context.Context, f func(context.Context) error) error {
	select {
	case s.round <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.round }()
	s.forgetTails()
	began, before := time.Now(), s.Stats().Packs
	err := f(ctx)
	if packs := s.Stats().Packs - before; packs > 0 || err != nil && !errors.Is(err, ErrPaused) {
		s.cfg.OnRound(time.Since(began), err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.noteResult(err)
	return err
}
