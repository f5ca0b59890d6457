package lifecycle

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
)

// RereadWithin is the time within which each chain is read again: so long what others do to
// it may stay unknown. Who acts on a chain reads it then, whatever is known.
const RereadWithin = 15 * time.Minute

// Chains is what is known of the sealed chains of partitions, so that looking at one that nothing
// was done to costs no request. It is derived from the chains: each is read when it is first
// asked for; what this process seals is added as it goes (Sealed), and what it rewrites is read
// again (Forget), as is each within RereadWithin, a few at a time (Refresh). It starts nothing and
// is safe for concurrent use.
type Chains struct {
	store   *chain.Store
	now     func() time.Time
	cleaned func(id.Partition, id.Offset)
	seed    maphash.Seed

	mu    sync.Mutex
	known map[id.Partition]*known
	items int // held in known
	most  int // of items
}

// Chain is what is known of a chain from a log start on. It is shared: read only.
type Chain struct {
	Items []chain.Item // canonical, of what is not below the log start; not all have a Version
	Last  chain.Item   // of the chain, wherever the log starts; the zero Item if there is none
	Bytes int64        // of Items

	notes *notes
}

// End is where the chain ends.
func (c Chain) End() id.Offset { return c.Last.Next }

// known is what is held of a chain.
type known struct {
	Chain
	start id.Offset // of the log
	valid bool      // else it is to be read
	whole bool      // Items are held
	read  time.Time // when it was begun to be read the last time
	turn  uint64    // of the changes of it
	gaps  uint64    // stands for the segments that lack records
}

// notes are what was found out about a chain beside its items. They go when these change.
type notes struct {
	mu sync.Mutex

	passed     bool      // a pass of compaction has found nothing to be done
	unstable   id.Offset // of its compact.State
	lagKnown   bool      // it has looked at the max lag
	dirty      id.Offset // of its compact.Decision
	firstDirty int64     // of its compact.State

	emptyFrom time.Time // when its last segment may be emptied

	retryFrom  time.Time     // when it may be compacted again after a failure
	retryAfter time.Duration // how long that was after it
}

// sealed are the notes of the chain with a segment more: what could not be compacted without it cannot with it.
func (n *notes) sealed() *notes {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &notes{retryFrom: n.retryFrom, retryAfter: n.retryAfter}
}

// ChainsConfig configures Chains; the zero value of a field selects its default.
type ChainsConfig struct {
	// MaxItems bounds the items that are held: 500,000, of some 300 bytes each. Chains beyond are read whenever they are asked for.
	MaxItems int
	// Cleaned is told of a partition of which segments up to an offset are found to lack records, and were not known to.
	// It must not block. nil: nobody is told.
	Cleaned func(p id.Partition, upTo id.Offset)
	Now     func() time.Time // default: time.Now
}

// NewChains returns one that knows nothing.
func NewChains(store *chain.Store, cfg ChainsConfig) *Chains {
	c := &Chains{store: store, now: cfg.Now, cleaned: cfg.Cleaned, seed: maphash.MakeSeed(), known: map[id.Partition]*known{}, most: cfg.MaxItems}
	if c.now == nil {
		c.now = time.Now
	}
	if c.cleaned == nil {
		c.cleaned = func(id.Partition, id.Offset) {}
	}
	if c.most <= 0 {
		c.most = 500_000
	}
	return c
}

// Sealed adds a segment that this process has appended to a chain.
func (c *Chains) Sealed(p id.Partition, seg chain.Segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[p]
	if !ok {
		return
	}
	k.turn++
	if k.valid = k.valid && k.End() == seg.Base; !k.valid { // else somebody else has sealed, too
		return
	}
	k.Last = chain.Item{Segment: seg}
	k.Bytes += seg.Length
	k.notes = k.notes.sealed()
	if k.whole = k.whole && c.items < c.most; !k.whole {
		c.drop(k)
		return
	}
	k.Items = append(k.Items, k.Last)
	c.items++
}

// Forget has chains read anew when they are next asked for: those that this process has changed, and those
// of partitions that came to it.
func (c *Chains) Forget(ps ...id.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range ps {
		if k, ok := c.known[p]; ok {
			k.turn++
			k.valid = false
		}
	}
}

// Cleaned says that this process has compacted something of a partition away, up to an offset.
func (c *Chains) Cleaned(p id.Partition, upTo id.Offset) {
	c.Forget(p)
	c.cleaned(p, upTo)
}

// Get returns what is known of the chain of a partition whose log starts at start, and reads it if nothing is.
func (c *Chains) Get(ctx context.Context, p id.Partition, start id.Offset) (Chain, error) {
	if k, ok := c.at(p, start); ok && k.whole {
		return k.Chain, nil
	}
	return c.Read(ctx, p, start)
}

// at returns what is known for a log start.
func (c *Chains) at(p id.Partition, start id.Offset) (known, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[p]
	if !ok || !k.valid || start < k.start || start > k.start && !k.whole {
		return known{}, false
	}
	k.start = start
	for len(k.Items) > 0 && k.Items[0].Next <= start {
		k.Bytes -= k.Items[0].Length
		k.Items = k.Items[1:]
		c.items--
	}
	return *k, true
}

// Read reads a chain as it is now. It fails as chain.Store.Items and chain.Canonical do.
func (c *Chains) Read(ctx context.Context, p id.Partition, start id.Offset) (Chain, error) {
	c.mu.Lock()
	k, ok := c.known[p]
	if !ok {
		k = &known{}
		c.known[p] = k
	}
	turn := k.turn
	k.read = c.now() // also if it fails: others have their turn
	c.mu.Unlock()
	now, err := c.fetch(ctx, p, start)
	if err != nil {
		return Chain{}, err
	}
	if upTo, changed := c.keep(p, k, turn, start, &now); changed {
		c.cleaned(p, upTo)
	}
	return now, nil
}

// fetch reads a chain.
func (c *Chains) fetch(ctx context.Context, p id.Partition, start id.Offset) (Chain, error) {
	items, err := c.store.Items(ctx, p)
	if err != nil {
		return Chain{}, err
	}
	canonical, _, err := chain.Canonical(items, start)
	if err != nil {
		return Chain{}, fmt.Errorf("read the chain of %s: %w", p, err)
	}
	now := Chain{notes: &notes{}}
	if n := len(items); n > 0 {
		now.Last = items[n-1]
	}
	for i, item := range canonical {
		if item.Next > start {
			now.Items = canonical[i:]
			break
		}
	}
	for _, item := range now.Items {
		now.Bytes += item.Length
	}
	return now, nil
}

// keep holds what was read, unless it has changed since the turn, and tells up to where segments
// lack records that were not known to.
func (c *Chains) keep(p id.Partition, k *known, turn uint64, start id.Offset, now *Chain) (upTo id.Offset, changed bool) {
	gaps := uint64(0)
	for _, item := range now.Items {
		if item.Cleaned() {
			gaps = gaps*31 + maphash.Comparable(c.seed, item.Segment)
			upTo = item.Next
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, k.gaps = gaps != k.gaps && upTo > 0, gaps
	if c.known[p] != k || k.turn != turn {
		return upTo, changed
	}
	if k.whole && slices.EqualFunc(k.Items, now.Items, sameSegment) && k.Last.Segment == now.Last.Segment {
		now.notes = k.notes
	}
	c.drop(k)
	k.Chain, k.start, k.valid = *now, start, true
	if k.whole = c.items+len(now.Items) <= c.most; !k.whole {
		k.Items = nil
		return upTo, changed
	}
	k.Items = slices.Clone(now.Items) // without what is spare behind it
	c.items += len(k.Items)
	return upTo, changed
}

func sameSegment(a, b chain.Item) bool { return a.Segment == b.Segment }

// drop lets the items of k go.
func (c *Chains) drop(k *known) {
	c.items -= len(k.Items)
	k.Items = nil
}

// Size is what a chain comes to.
type Size struct {
	End   id.Offset // of the chain
	Bytes int64     // of batches in the segments that are not below the log start
}

// Sizes returns those of partitions, given with their log starts. With an error, which names the
// first chain that could not be read, those that are known are returned all the same.
func (c *Chains) Sizes(ctx context.Context, starts map[id.Partition]id.Offset) (map[id.Partition]Size, error) {
	sizes := make(map[id.Partition]Size, len(starts))
	var unknown []id.Partition
	for p, start := range starts {
		if k, ok := c.at(p, start); ok {
			sizes[p] = Size{k.End(), k.Bytes}
		} else {
			unknown = append(unknown, p)
		}
	}
	read := make([]*Chain, len(unknown))
	err := each(ctx, "read the sizes of sealed chains", unknown, func(ctx context.Context, i int, p id.Partition) error {
		now, err := c.Read(ctx, p, starts[p])
		if err == nil {
			read[i] = &now
		}
		return err
	})
	for i, now := range read {
		if now != nil {
			sizes[unknown[i]] = Size{now.End(), now.Bytes}
		}
	}
	return sizes, err
}

// Refresh reads those chains of partitions, given with their log starts, that were not read for the longest time: so many
// that all are within RereadWithin if it is called each interval. It lets go what it knows of partitions that
// are not live. One that fails does not hold up the others.
func (c *Chains) Refresh(ctx context.Context, starts map[id.Partition]id.Offset, interval time.Duration, live func(id.Partition) bool) error {
	ps := make([]id.Partition, 0, len(starts))
	for p := range starts {
		ps = append(ps, p)
	}
	c.mu.Lock()
	for p, k := range c.known {
		if !live(p) {
			c.drop(k)
			delete(c.known, p)
		}
	}
	age := make(map[id.Partition]time.Time, len(ps))
	for _, p := range ps {
		if k, ok := c.known[p]; ok {
			age[p] = k.read
		}
	}
	c.mu.Unlock()
	slices.SortFunc(ps, func(a, b id.Partition) int {
		if order := age[a].Compare(age[b]); order != 0 {
			return order
		}
		return a.Compare(b)
	})
	share := (int64(len(ps))*int64(interval) + int64(RereadWithin) - 1) / int64(RereadWithin)
	ps = ps[:min(int64(len(ps)), share)]
	return each(ctx, "read chains again", ps, func(ctx context.Context, _ int, p id.Partition) error {
		_, err := c.Read(ctx, p, starts[p])
		return err
	})
}
