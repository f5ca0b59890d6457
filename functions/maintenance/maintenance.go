// Package maintenance is what Lambda functions do for the life of sealed data, so that brokers need not: one
// invocation is a round of retention, of merging and compaction, of the collector, or of the sweep after dead
// brokers. Brokers then run with --maintenance none, and may be up or down.
//
// A Handler keeps nothing that counts: where a round ended is remembered only so that the next begins
// there. Every step is idempotent, and several invocations, also of brokers that do the same, run beside each
// other; then some of the work is done twice. An invocation ends a safe time before its deadline and waits
// for what it has begun, so that nothing is done between invocations, while the process may be frozen. It takes
// much less than chain.CommitWithin, which Lambda's own limit of 15 minutes sees to.
//
// The environment is read by mains, which hand it in. A Handler is safe for concurrent use.
package maintenance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/broker/lifecycle"
	"github.com/forebaylog/forebay/functions/internal/emf"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/collect"
	"github.com/forebaylog/forebay/tiering/rewrite"
	"github.com/forebaylog/forebay/tiering/wal"
)

// ErrNoCluster says that there is no cluster in the stores.
var ErrNoCluster = errors.New("no cluster in these stores")

// Config of a Handler. Metadata and Objects must be set; the zero value of another field selects its
// default.
type Config struct {
	Metadata kv.Store       // the control table
	Objects  objstore.Store // packs
	WAL      objstore.Store // of WAL objects; nil: Objects
	Cluster  string         // as metrics have it

	// Group is how many partitions are worked on between two looks at the clock: 100.
	Group int
	// Safety is how long before its deadline an invocation begins to end: a tenth of its time, 1 to 30 s.
	Safety time.Duration
	// MemoryBytes bounds what is held beside the metadata: 256 MiB.
	MemoryBytes int64
	// Scratch is a directory for the keys that memory has no room for, and ScratchBytes how much of them; "": there is none.
	Scratch      string
	ScratchBytes int64
	// Grace, Rate and Alone are the collector's.
	Grace time.Duration
	Rate  float64
	Alone bool
	// SessionTTL is after how long without a renewal a broker counts as dead: 3 s; no shorter than that of the brokers.
	SessionTTL time.Duration

	Now    func() time.Time // default: time.Now
	Logger *slog.Logger     // nil discards
}

func (c Config) withDefaults() Config {
	if c.Group <= 0 {
		c.Group = 100
	}
	if c.MemoryBytes <= 0 {
		c.MemoryBytes = 256 << 20
	}
	if c.SessionTTL <= 0 {
		c.SessionTTL = session.DefaultTTL
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Request is what a function is invoked with; all of it may be left out, as by a schedule.
type Request struct {
	// From is the partition to begin at, TOPIC-INDEX, as the answer before has it in Next.
	From string `json:"from,omitempty"`
}

// Report is what a function answers with.
type Report struct {
	Task       string `json:"task"`
	Partitions int    `json:"partitions"`     // that there are
	Done       int    `json:"done"`           // of them in this invocation
	Complete   bool   `json:"complete"`       // all were worked on
	Next       string `json:"next,omitempty"` // where the next invocation should go on
	TookMillis int64  `json:"took_ms"`
	Result     any    `json:"result,omitempty"` // of the task: its counts
}

// work is what an invocation works with.
type work struct {
	cfg    Config
	meta   *metalog.Log
	chains *chain.Store
	cold   *cold.Reader
	all    objstore.Store // packs and WAL objects
	keeper *lifecycle.Keeper
}

// Task is one of the things that Handlers do.
type Task struct {
	name string
	// group works on some partitions; nil: the task is about the stores as a whole.
	group func(ctx context.Context, w *work, ps []id.Partition) error
	// whole works on all partitions once each group was worked on; nil: nothing is left to do.
	whole func(ctx context.Context, w *work, ps []id.Partition) error
	// result are the counts; of a task about the whole it does the work.
	result func(ctx context.Context, w *work) (any, error)
}

// Retention moves log starts as the configs of topics say.
var Retention = Task{
	name: "retention", result: counts,
	group: func(ctx context.Context, w *work, ps []id.Partition) error { return w.keeper.Retain(ctx, ps) },
}

func counts(_ context.Context, w *work) (any, error) { return w.keeper.Stats(), nil }

// Handler does one task whenever it is invoked.
type Handler struct {
	cfg  Config
	task Task

	mu   sync.Mutex
	next id.Partition // where the next round begins; zero: anywhere
}

// New returns a Handler. The stores are the caller's.
func New(cfg Config, task Task) *Handler { return &Handler{cfg: cfg.withDefaults(), task: task} }

// Handle does a round, as far as the deadline of ctx lets it. With an error the report tells how far it
// got all the same, in the log; the next invocation does what is left.
func (h *Handler) Handle(ctx context.Context, req Request) (Report, error) {
	began := h.cfg.Now()
	r := Report{Task: h.task.name}
	err := h.run(ctx, req, &r)
	r.TookMillis = h.cfg.Now().Sub(began).Milliseconds()
	h.log(ctx, r, err)
	if err != nil {
		return r, fmt.Errorf("%s: %w", h.task.name, err)
	}
	return r, nil
}

// log writes what came of a round, with metrics.
func (h *Handler) log(ctx context.Context, r Report, err error) {
	level, message, failed, complete := slog.LevelInfo, "round done", 0.0, 0.0
	attrs := []slog.Attr{
		slog.Int("partitions", r.Partitions), slog.Int("done", r.Done), slog.Bool("complete", r.Complete),
		slog.String("next", r.Next), slog.Any("result", r.Result),
	}
	if r.Complete {
		complete = 1
	}
	if err != nil {
		level, message, failed = slog.LevelError, "round failed", 1
		attrs = append(attrs, slog.Any("err", err))
	}
	metrics := []emf.Metric{
		{Name: "Rounds", Unit: emf.Count, Value: 1},
		{Name: "RoundsFailed", Unit: emf.Count, Value: failed},
		{Name: "RoundsComplete", Unit: emf.Count, Value: complete},
		{Name: "RoundDuration", Unit: emf.Milliseconds, Value: float64(r.TookMillis)},
		{Name: "PartitionsDone", Unit: emf.Count, Value: float64(r.Done)},
	}
	if m, ok := r.Result.(measured); ok {
		metrics = append(metrics, m.metrics()...)
	}
	h.cfg.Logger.LogAttrs(ctx, level, message, append(attrs, emf.Origin{Cluster: h.cfg.Cluster, Function: r.Task}.Attrs(h.cfg.Now(), metrics...)...)...)
}

// measured is a result that has metrics of its own.
type measured interface{ metrics() []emf.Metric }

// run opens what the round needs and closes it again, so that nothing goes on afterwards.
func (h *Handler) run(ctx context.Context, req Request, r *Report) (err error) {
	limited, cancel := h.limit(ctx)
	defer cancel()
	w, closeAll, err := h.open(limited)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll(context.WithoutCancel(ctx))) }()
	if h.task.group == nil {
		r.Result, err = h.task.result(limited, w)
		if err == nil {
			r.Complete = true
			return nil
		}
		return stopped(limited, err)
	}
	err = h.groups(limited, w, req, r)
	r.Result, _ = h.task.result(limited, w)
	return err
}

// limit ends a safe time before ctx does.
func (h *Handler) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithTimeoutCause(ctx, chain.CommitWithin/2, errTime)
	}
	safety := h.cfg.Safety
	if left := time.Until(deadline); safety <= 0 {
		safety = min(max(left/10, time.Second), 30*time.Second)
	}
	return context.WithDeadlineCause(ctx, deadline.Add(-safety), errTime)
}

// errTime: an invocation's time is nearly over.
var errTime = errors.New("the time of the invocation is nearly over")

// stopped is err, unless the time that is over is all there is to it: that is no failure.
func stopped(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errTime) {
		return nil
	}
	return err
}

func (h *Handler) open(ctx context.Context) (_ *work, closeAll func(context.Context) error, err error) {
	img, err := metalog.Load(ctx, h.cfg.Metadata, h.cfg.Objects)
	if err != nil {
		return nil, nil, err
	}
	if img.ClusterID() == "" {
		return nil, nil, ErrNoCluster
	}
	w := &work{cfg: h.cfg, chains: chain.Open(h.cfg.Metadata)}
	if w.meta, err = metalog.Open(ctx, metalog.Options{Store: h.cfg.Metadata, Objects: h.cfg.Objects, Logger: h.cfg.Logger}); err != nil {
		return nil, nil, err
	}
	w.all = h.cfg.Objects
	if h.cfg.WAL != nil {
		w.all = objstore.Route(w.all, wal.ObjectPrefix, h.cfg.WAL)
	}
	w.cold = cold.New(w.all, cold.Config{CacheBytes: h.cfg.MemoryBytes / 8, FooterBytes: h.cfg.MemoryBytes / 8, Logger: h.cfg.Logger})
	rewriter := rewrite.New(rewrite.Config{
		Chain: w.chains, Objects: h.cfg.Objects, Cold: w.cold, Cluster: img.ClusterID(), Node: metalog.NoBroker, Now: h.cfg.Now, Logger: h.cfg.Logger,
	})
	w.keeper = lifecycle.New(lifecycle.Config{
		Rewriter: rewriter, Bulk: w.cold, Keys: w.keys,
		Dead:  func(ctx context.Context) (map[string]bool, error) { return collect.Dead(ctx, h.cfg.Objects) },
		Image: w.meta.Image, Update: w.meta.Update, Topic: w.topic, Chains: lifecycle.NewChains(w.chains, lifecycle.ChainsConfig{Now: h.cfg.Now, MaxItems: int(h.cfg.MemoryBytes / 8 / 300)}), Cold: w.cold, Now: h.cfg.Now, Logger: h.cfg.Logger,
	})
	return w, func(ctx context.Context) error { return errors.Join(w.cold.Close(ctx), w.meta.Close(ctx)) }, nil
}

// topic is what counts for a topic with its own configs and those that count for all brokers. The start-up
// settings of brokers are not known here.
func (w *work) topic(t *metalog.Topic) *config.Effective {
	return config.Resolve(config.Layers{
		Resource: t.Configs, Source: config.DynamicTopic,
		Cluster: w.meta.Image().Config(metalog.Resource{Type: metalog.ResourceBroker}),
	})
}

// groups works on all partitions that have a chain, some at a time, from where the last round has ended.
func (h *Handler) groups(ctx context.Context, w *work, req Request, r *Report) error {
	ps, err := w.chains.Partitions(ctx)
	if err != nil {
		return err
	}
	img := w.meta.Image()
	ps = slices.DeleteFunc(ps, func(p id.Partition) bool { _, ok := img.Partition(p); return !ok })
	slices.SortFunc(ps, id.Partition.Compare)
	if r.Partitions = len(ps); len(ps) == 0 {
		r.Complete = true
		return nil
	}
	at, err := h.first(ps, req)
	if err != nil {
		return err
	}
	ps = slices.Concat(ps[at:], ps[:at])
	var errs []error
	for group := range slices.Chunk(ps, h.cfg.Group) {
		err := h.task.group(ctx, w, group)
		if ctx.Err() != nil {
			err = stopped(ctx, err)
			return h.goOn(group[0], r, errors.Join(append(errs, err)...))
		}
		errs = append(errs, err) // the others are worked on all the same
		r.Done += len(group)
	}
	if h.task.whole != nil {
		err := h.task.whole(ctx, w, ps)
		if ctx.Err() != nil {
			return h.goOn(id.Partition{}, r, errors.Join(append(errs, stopped(ctx, err))...))
		}
		errs = append(errs, err)
	}
	r.Complete = true
	return h.goOn(id.Partition{}, r, errors.Join(errs...))
}

// goOn notes where the next round begins.
func (h *Handler) goOn(next id.Partition, r *Report, err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = next
	if !next.Topic.IsZero() {
		r.Next = next.String()
	}
	return err
}

// first is the index of the partition to begin at: the one asked for, the one that the last round has
// got to, or any, so that no partition is always the last.
func (h *Handler) first(ps []id.Partition, req Request) (int, error) {
	h.mu.Lock()
	from := h.next
	h.mu.Unlock()
	if req.From != "" {
		var err error
		if from, err = parsePartition(req.From); err != nil {
			return 0, err
		}
	}
	if from.Topic.IsZero() {
		return rand.IntN(len(ps)), nil
	}
	at, _ := slices.BinarySearchFunc(ps, from, id.Partition.Compare)
	return at % len(ps), nil
}
