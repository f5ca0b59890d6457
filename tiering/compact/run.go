package compact

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// Config of Run. Chain, Cold and Rewriter must be set.
type Config struct {
	Chain    *chain.Store
	Cold     *cold.Reader // best the rewriter's: what is read would sweep out what consumers read
	Rewriter *rewrite.Engine
	Keys     MapConfig
	Now      func() time.Time // the zero value: time.Now
	Valid    func() bool      // whether this process may still write to the chains; nil: it always may
	// Alone says that nobody rewrites the partition but Rewriter. Then tombstones and markers need not stay for MinRetention.
	Alone  bool
	Logger *slog.Logger // nil discards

	scratch *scratch // of all passes
}

func (c Config) withDefaults() Config {
	c.scratch = new(scratch)
	c.Keys = c.Keys.withDefaults()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Valid == nil {
		c.Valid = func() bool { return true }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Stats of a pass, named as those of Kafka's CleanerStats.
type Stats struct {
	Decision
	Unstable                          id.Offset // of the State that was decided by
	FirstDirty                        int64     // likewise
	Counts                                      // of the segments that were gone over
	MapMessagesRead, MapBytesRead     int64     // of the dirty part, for the map
	SpilledBytes                      int64     // of the map
	Segments, Rewritten, Kept, Groups int       // gone over; in groups that were rewritten; left where they are
	CleanedTo                         id.Offset
}

// Work is a partition to be gone over.
type Work struct {
	Partition id.Partition
	Start     id.Offset // of the log
	Settings  Settings
}

// Result is what has become of a Work. CleanedTo is below End if the map became full: then another pass
// goes on from there.
type Result struct {
	Stats
	// Err: chain.ErrChanged if somebody else has changed the chain meanwhile; what was done stays, and the next pass
	// does the rest.
	Err error
}

// Run makes one pass over each of works whose settings say that it is time, and yields its index with what has come
// of it, each once. They are begun in the order of works. Those that follow each other and are small are made
// beside each other, so that what they rewrite shares packs: as many as have their maps within the budget for keys and
// their segments within a pack. One that fails does not hold up the others. Who stops early leaves the rest undone.
//
// Commit point of each group of segments: chain.Store.Replace. A crash before it leaves the group as it was, after it
// the group is cleaned; see the package's documentation.
func Run(ctx context.Context, cfg Config, works []Work) iter.Seq2[int, Result] {
	cfg = cfg.withDefaults()
	return func(yield func(int, Result) bool) {
		open := together{cfg: &cfg}
		for i, w := range works {
			r := &pass{cfg: &cfg, p: w.Partition, start: w.Start, set: w.Settings.withDefaults(), work: i}
			if r.begin(ctx); r.err != nil || !r.stats.Clean {
				if !yield(i, r.result()) {
					return
				}
				continue
			}
			if !open.fits(r) && !open.run(ctx, yield) {
				return
			}
			open.add(r)
		}
		open.run(ctx, yield)
	}
}

// together are passes that are made beside each other.
type together struct {
	cfg           *Config
	passes        []*pass
	memory, bytes int64 // of all
}

// fits reports whether there is room for r; for one there always is.
func (g *together) fits(r *pass) bool {
	return len(g.passes) == 0 ||
		g.memory+r.memory() <= g.cfg.Keys.Budget && g.bytes+r.bytes() <= g.cfg.Rewriter.PackBytes()
}

func (g *together) add(r *pass) {
	g.passes = append(g.passes, r)
	g.memory, g.bytes = g.memory+r.memory(), g.bytes+r.bytes()
}

// run makes the passes and yields what has become of them; then there are none. It reports whether to go on.
func (g *together) run(ctx context.Context, yield func(int, Result) bool) bool {
	passes := g.passes
	g.passes, g.memory, g.bytes = nil, 0, 0
	// In the order of a pack's runs, so that the chunks of the old packs are fetched once.
	slices.SortFunc(passes, func(a, b *pass) int { return a.p.Compare(b.p) })
	for _, r := range passes {
		r.index(ctx)
	}
	for g.rewrite(ctx, passes) {
		continue
	}
	for _, r := range passes {
		r.end()
	}
	for _, r := range passes {
		if !yield(r.work, r.result()) {
			return false
		}
	}
	return true
}

// rewrite has the next group of each pass rewritten; false: there was none. A pass's groups come one after the other.
func (g *together) rewrite(ctx context.Context, passes []*pass) bool {
	var jobs []rewrite.Job
	var of []*pass
	for _, r := range passes {
		if group := r.next(ctx); group != nil {
			jobs = append(jobs, rewrite.Job{Partition: r.p, Start: r.start, Old: group, Clean: r.cleaner, CleanedTo: r.to})
			of = append(of, r)
		}
	}
	if len(jobs) == 0 {
		return false
	}
	results, _ := g.cfg.Rewriter.Rewrite(ctx, jobs) // the error is in those that it concerns
	for i, r := range of {
		r.took(jobs[i].Old, results[i].Err)
	}
	return true
}
