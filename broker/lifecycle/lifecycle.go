// Package lifecycle keeps partitions as their configs say: it moves log starts (retention),
// and has sealed segments merged and compacted. It works on metadata, chains and packs alone, so
// that a broker does it for the partitions that it leads, and a function for all of them.
//
// It never removes anything: what its steps leave behind is for package collect. Each step has one
// commit point, which is named at its method; several Keepers may work on the same partitions, and
// then some of the work is done twice. A Keeper decides by what Chains knows, and acts on what it reads
// then; it keeps nothing but counts, starts nothing that outlives a call, and is safe for concurrent use.
package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/compact"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// Footers reads the footers of packs; *cold.Reader does.
type Footers interface {
	Footer(ctx context.Context, object string, size int64) (*pack.Footer, error)
}

// Config of a Keeper. All of Image, Update, Topic, Chains and Cold must be set; the zero value
// of another field selects its default.
type Config struct {
	// Image is the metadata as it is now, and Update changes it: those of a metalog.Log.
	Image  func() *metalog.Image
	Update func(ctx context.Context, decide func(*metalog.Image) ([]metalog.Record, error)) (*metalog.Image, error)
	// Topic is what counts for a topic.
	Topic  func(*metalog.Topic) *config.Effective
	Chains *Chains
	Cold   Footers

	// Rewriter merges and compacts, and Bulk is the reader that it reads with. Retain needs neither.
	Rewriter *rewrite.Engine
	Bulk     *cold.Reader
	// Alone says that nobody rewrites the partitions but Rewriter.
	Alone bool
	// Dead tells which packs are mostly dead: see collect.Dead. nil: none are known.
	Dead func(ctx context.Context) (map[string]bool, error)
	// Keys is how much memory, and which directory, compaction may take for keys now. nil: the defaults.
	Keys func() compact.MapConfig

	// Unsealed returns, as of now, how many bytes of partitions lie at or above an offset, as far as it is known: those
	// beyond the end of a chain count for retention.bytes. nil: none are known.
	Unsealed func() func(p id.Partition, from id.Offset) int64
	// ProducerExpiry is how long a silent producer without an open transaction is remembered: 24 h.
	ProducerExpiry time.Duration
	// Valid reports whether chains may be changed now: the session is valid. nil: always.
	Valid  func() bool
	Now    func() time.Time // default: time.Now
	Logger *slog.Logger     // nil discards
}

func (c Config) withDefaults() Config {
	if c.Unsealed == nil {
		c.Unsealed = func() func(id.Partition, id.Offset) int64 { return func(id.Partition, id.Offset) int64 { return 0 } }
	}
	if c.Dead == nil {
		c.Dead = func(context.Context) (map[string]bool, error) { return nil, nil }
	}
	if c.Keys == nil {
		c.Keys = func() compact.MapConfig { return compact.MapConfig{} }
	}
	if c.ProducerExpiry <= 0 {
		c.ProducerExpiry = 24 * time.Hour
	}
	if c.Valid == nil {
		c.Valid = func() bool { return true }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Keeper does retention, merging and compaction of the partitions that it is given.
type Keeper struct {
	cfg Config

	mu    sync.Mutex
	stats Stats
}

// New returns a Keeper that does nothing until it is called.
func New(cfg Config) *Keeper { return &Keeper{cfg: cfg.withDefaults()} }

// Stats are counts since the Keeper was made.
type Stats struct {
	Moved           int64 // log starts
	RetainedBytes   int64 // of the sealed segments that came to lie below a log start
	RetainedRecords int64 // likewise, as the chain has them
	Emptied         int64 // chains of which nothing is left but their end
	Merged          int64 // segments that were put together, or moved to another pack
	MergedBytes     int64 // of what came of them
	Compacted       int64 // passes of compaction that took something away
	// MaxDirtyRatio is the share of the dirtiest partition that was not compacted, when it was last looked for.
	MaxDirtyRatio float64
}

// Stats returns the counts.
func (k *Keeper) Stats() Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stats
}

func (k *Keeper) count(f func(*Stats)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.stats)
}

// parallelism is how many partitions are looked at at once.
const parallelism = 16

// each calls f with each of ps, several at a time, until ctx ends. What fails does not hold up the
// others; the error says how many did, and why the first of them.
func each(ctx context.Context, what string, ps []id.Partition, f func(ctx context.Context, i int, p id.Partition) error) error {
	errs := make([]error, len(ps))
	var g errgroup.Group
	g.SetLimit(parallelism)
	for i, p := range ps {
		g.Go(func() error {
			if errs[i] = context.Cause(ctx); errs[i] == nil {
				errs[i] = f(ctx, i, p)
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
	return summary(what, errs)
}

// summary sums up what has become of partitions.
func summary(what string, errs []error) error {
	failed := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %d of %d partitions failed; the first: %w", what, len(failed), len(errs), failed[0])
}
