// Package collect removes what nothing names any more: spare and forgotten items of chains,
// then packs, WAL objects, metadata snapshots, what is old enough of the metadata's archive, and
// unfinished uploads. Nothing else in Forebay
// removes packs and chain items.
//
// A run is one look. It asks the object store for the time (the time that the store gives to
// a small object, the look's begin), lists all objects, and only then reads what counts: the
// metadata, the chains, the slots of the streams, the pointer to the metadata snapshots. What
// was listed and is not named is superfluous. The look writes that down as its marks, an
// object again (FORMAT.md), with the time since when it was found superfluous by one look
// after the other. What was found so by a look that ended at least a grace before this one
// began is removed: items first, then objects.
//
// Why nothing is removed that is named: a name is given to an object within
// chain.CommitWithin from the beginning of its upload, once and to that upload alone. Who was
// found without a name a grace ago, which is longer, and again since, will have none. The
// same holds for items that are built on: who has read a chain in which an item counted did so
// before the first of these looks, and is done within chain.CommitWithin, so before the last one
// began and whatever time its removals take; who reads it later finds that the item does not count,
// and items that are fully covered, or below the log start, never count again as they are. So the
// grace must exceed chain.CommitWithin, and Margin is for clocks and for writes that
// arrive late. WAL objects have no such bound while their stream
// is open, so those of an open stream are kept. No clock counts but the object store's, and
// both times are given to objects that are written for it, so that a look may be paused
// wherever it is: an earlier begin and later marks only make it more careful. For the same
// reason looks may run beside each other.
//
// Even so nobody removes by what was seen long ago. A store is looked at window by window, none of which is listed
// for long, and what is due of a window is removed before the next. These removals end chain.CommitWithin after the
// window was begun, by the monotonic clock, which is read right before each of them; the next look goes on
// (Report.Late). The items of a partition go in the order of their bases, and a failure ends all removals.
//
// A look also writes down which packs are mostly dead, which nobody else can tell: see Dead.
//
// Commit points: each removal on its own, with the item's version as a condition; it is right
// whether or not others follow. A crash leaves what the next look finds, and the marks of the look before or of this
// one, that it goes on from. Memory is bounded by Config.Window and Config.MaxMarks, beside the metadata
// image and the items of a few chains: see Config. A Collector is safe for concurrent use.
package collect

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
)

// ErrInvalid says that the configuration is not one to remove things by.
var ErrInvalid = errors.New("invalid configuration of the collector")

// Margin is how much longer than chain.CommitWithin the grace must be at least, for the
// store's clocks, which are more than one.
const Margin = 10 * time.Minute

// DefaultGrace is the grace of a cluster.
const DefaultGrace = 24 * time.Hour

// DefaultAuditKept is how long the audit is kept unless something else is set.
const DefaultAuditKept = 90 * 24 * time.Hour

// Config of a Collector. Metadata, Objects and Image must be set; the zero value of another
// field selects its default.
type Config struct {
	Metadata kv.Store       // the control table: slots of the streams, pointer to the snapshots
	Chains   kv.Store       // nil: Metadata
	Objects  objstore.Store // all but WAL objects, and these too if WAL is nil
	WAL      objstore.Store // of WAL objects, if they have a store of their own
	// Cluster is the id of the cluster that the stores are for, as the caller knows it. Then stores that do not say so themselves
	// are accepted if there is nothing in them; else, and if it is "", they must say so.
	Cluster string

	// Image reads the metadata up to its end. What it returns must not be older than the call.
	Image func(ctx context.Context) (*metalog.Image, error)

	// Grace is for how long a thing must have been superfluous before it is removed: 24 h. It
	// must exceed chain.CommitWithin by Margin, unless Alone.
	Grace time.Duration
	// Alone says that nobody writes to the stores but the caller, who does not do so during
	// Run, or that they are a test's. Then any grace will do, also a negative one for none.
	Alone bool
	// AuditKept is how long the archive of the metadata is kept, in which the audit is, from when an object of
	// it was stored, and metalog.KeysKept at least; nil: DefaultAuditKept; what is negative: for ever.
	AuditKept func(*metalog.Image) time.Duration
	// Rate is how many items and objects are removed per second: 100. Negative: no limit.
	Rate float64
	// DryRun writes and removes nothing. The report's Due then tells what would go.
	DryRun bool
	// Progress, if not nil, is told of what the run is at and how many it has done of it. It
	// is called by the goroutine of Run, often.
	Progress func(stage string, done int64)

	// Window is how many objects are listed before the metadata and the chains are read: 1 Mi.
	// For each of its objects some 80 bytes are held. A bucket that has more is looked at in
	// several windows, for each of which all is read again.
	Window int
	// MaxMarks bounds the marks of a look, compressed, in bytes: 64 MiB, which is some two
	// million names. They are held in memory, as are those of the look before, and those due of a window.
	// What does not find a place is found by a later look.
	MaxMarks int

	Now    func() time.Time // for names, and for a dry run: time.Now
	Logger *slog.Logger     // nil discards
}

func (c Config) withDefaults() Config {
	if c.Chains == nil {
		c.Chains = c.Metadata
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.AuditKept == nil {
		c.AuditKept = func(*metalog.Image) time.Duration { return DefaultAuditKept }
	}
	if c.Rate == 0 {
		c.Rate = 100
	}
	if c.Window <= 0 {
		c.Window = 1 << 20
	}
	if c.MaxMarks <= 0 {
		c.MaxMarks = 64 << 20
	}
	if c.Progress == nil {
		c.Progress = func(string, int64) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports what must not be, as an error that wraps ErrInvalid.
func (c Config) Validate() error {
	switch least := chain.CommitWithin + Margin; {
	case c.Metadata == nil || c.Objects == nil || c.Image == nil:
		return fmt.Errorf("%w: Metadata, Objects and Image are needed", ErrInvalid)
	case !c.Alone && c.withDefaults().Grace < least:
		return fmt.Errorf("%w: a grace of %v: others may take up to %v to name what they have uploaded, choose at least %v",
			ErrInvalid, c.Grace, chain.CommitWithin, least)
	}
	return nil
}

// Collector removes what is superfluous.
type Collector struct {
	cfg    Config
	chains *chain.Store

	mu    sync.Mutex
	stats Stats
}

// New returns a Collector that does nothing until Run is called.
func New(cfg Config) *Collector {
	cfg = cfg.withDefaults()
	return &Collector{cfg: cfg, chains: chain.Open(cfg.Chains)}
}

// Run looks once and removes what is due. It fails with ErrInvalid before it does anything, and
// with ErrForeign before it removes anything; after any other error, also the end of ctx, the
// report tells what was done until then, and the next run goes on. Damage that keeps
// things from being removed is in the report and no error.
func (c *Collector) Run(ctx context.Context) (Report, error) {
	if err := c.cfg.Validate(); err != nil {
		return Report{}, err
	}
	r := &run{
		c: c, cfg: c.cfg, marks: &marksWriter{max: c.cfg.MaxMarks}, dead: &marksWriter{max: maxDead}, waiting: hashes{seed: maphash.MakeSeed()},
	}
	r.report.Damaged = []Damage{}
	err := r.run(ctx)
	c.note(r.report, err)
	if err != nil {
		return r.report, fmt.Errorf("collect what is superfluous: %w", err)
	}
	return r.report, nil
}
