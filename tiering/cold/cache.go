package cold

import (
	"context"
	"sync"
)

// cache keeps the values that were used last, within a budget but one at least, and
// loads each key once however many wait for it. A load belongs to the cache, not to whoever
// asked first: a waiter that gives up leaves it running for the others.
// It is safe for concurrent use.
type cache[K comparable, V any] struct {
	owner *owner
	slots chan struct{} // one for each load under way
	load  func(context.Context, K) (V, error)
	cost  func(V) int64

	mu      sync.Mutex
	shut    int // slots that no load may have
	owed    int // of those, such as loads under way still have
	budget  int64
	used    int64
	ahead   int64 // cost of the entries that were loaded ahead and not asked for yet
	entries *lru[K, entry[V]]
	flights map[K]*flight[V]
	stats   cacheStats
}

type cacheStats struct{ hits, loads, joined, aheads, evictions int64 }

type entry[V any] struct {
	value V
	cost  int64
	ahead bool // loaded ahead and not asked for yet
}

// flight is a load under way. Value and err may be read once done is closed.
type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
	ahead bool // nobody waits for it yet
}

func newCache[K comparable, V any](
	o *owner, budget int64, loads int, load func(context.Context, K) (V, error), cost func(V) int64,
) *cache[K, V] {
	return &cache[K, V]{
		owner: o, slots: make(chan struct{}, loads), load: load, cost: cost, budget: budget,
		entries: newLRU[K, entry[V]](), flights: map[K]*flight[V]{},
	}
}

// get returns the value of key, from memory or by waiting for a load of it.
func (c *cache[K, V]) get(ctx context.Context, key K) (V, error) {
	c.mu.Lock()
	if e, ok := c.entries.use(key); ok {
		c.hit(e)
		value := e.value
		c.mu.Unlock()
		return value, nil
	}
	f, ok := c.flights[key]
	if ok {
		f.ahead = false
		c.stats.joined++
	} else {
		f = &flight[V]{done: make(chan struct{})}
		if err := c.start(key, f, false); err != nil {
			c.mu.Unlock()
			return f.value, err
		}
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// prefetch starts a load of key, unless it is known or under way, half of the slots
// are taken, or half of the budget by values that nobody has asked for yet.
func (c *cache[K, V]) prefetch(key K, cost int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries.has(key) || c.flights[key] != nil || c.ahead+cost > c.budget/2 ||
		len(c.slots)-(c.shut-c.owed) >= (cap(c.slots)-c.shut+1)/2 {
		return
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return
	}
	f := &flight[V]{done: make(chan struct{}), ahead: true}
	if c.start(key, f, true) != nil {
		c.leave()
		return
	}
	c.stats.aheads++
}

// resize changes the budget and how many loads may be under way, up to as many as there were to begin with.
func (c *cache[K, V]) resize(budget int64, loads int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget = budget
	for c.used > c.budget && c.entries.oldest != nil {
		c.remove(c.entries.oldest.key)
		c.stats.evictions++
	}
	for ; c.shut > cap(c.slots)-loads; c.shut-- {
		if c.owed > 0 {
			c.owed--
		} else {
			<-c.slots
		}
	}
	for ; c.shut < cap(c.slots)-loads; c.shut++ {
		select {
		case c.slots <- struct{}{}:
		default:
			c.owed++
		}
	}
}

// leave gives back the slot of a load, unless that is to be shut. c.mu is held.
func (c *cache[K, V]) leave() {
	if c.owed > 0 {
		c.owed--
		return
	}
	<-c.slots
}

// forget drops the value of key, if it is in memory.
func (c *cache[K, V]) forget(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
}

// hit takes note that e was asked for. c.mu is held.
func (c *cache[K, V]) hit(e *entry[V]) {
	if e.ahead {
		e.ahead = false
		c.ahead -= e.cost
	}
	c.stats.hits++
}

// start lets a goroutine of the owner load key; slotted says that it has a slot. c.mu is held.
func (c *cache[K, V]) start(key K, f *flight[V], slotted bool) error {
	err := c.owner.spawn(func(ctx context.Context) {
		if !slotted {
			select {
			case c.slots <- struct{}{}:
			case <-ctx.Done():
				c.land(key, f, f.value, context.Cause(ctx))
				return
			}
		}
		value, err := c.load(ctx, key)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		c.land(key, f, value, err)
		c.mu.Lock()
		c.leave()
		c.mu.Unlock()
	})
	if err == nil {
		c.flights[key] = f
		c.stats.loads++
	}
	return err
}

// land ends a flight and keeps its value.
func (c *cache[K, V]) land(key K, f *flight[V], value V, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.value, f.err = value, err
	delete(c.flights, key)
	close(f.done)
	if err != nil {
		return
	}
	e := entry[V]{value: value, cost: c.cost(value), ahead: f.ahead}
	for c.used > 0 && c.used+e.cost > c.budget {
		c.remove(c.entries.oldest.key)
		c.stats.evictions++
	}
	c.used += e.cost
	if e.ahead {
		c.ahead += e.cost
	}
	c.entries.add(key, e)
}

// remove takes the entry of key out, if there is one. c.mu is held.
func (c *cache[K, V]) remove(key K) {
	e, _ := c.entries.remove(key)
	c.used -= e.cost
	if e.ahead {
		c.ahead -= e.cost
	}
}

// snapshot returns the counts so far and the cost of what is in memory.
func (c *cache[K, V]) snapshot() (stats cacheStats, used int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats, c.used
}

// owner runs goroutines until it is closed.
type owner struct {
	ctx    context.Context // of the goroutines, until Close
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

func newOwner() *owner {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &owner{ctx: ctx, cancel: cancel}
}

// spawn runs f in a goroutine, with a context that ends when the owner is closed.
func (o *owner) spawn(f func(context.Context)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrClosed
	}
	o.wg.Go(func() { f(o.ctx) })
	return nil
}

// close cancels the goroutines and waits for them, as long as ctx lets it.
func (o *owner) close(ctx context.Context) error {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.cancel(ErrClosed)
	done := make(chan struct{})
	go func() { o.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
