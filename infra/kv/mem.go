package kv

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Mem is a Store in memory, for tests and for brokers that keep nothing.
type Mem struct {
	mu     sync.RWMutex
	parts  map[string]*memPart
	closed bool
}

// memPart is the items of one partition key; sorted has their sort keys in order.
type memPart struct {
	items  map[string]memItem
	sorted []string
}

type memItem struct {
	value   []byte // never changed
	version Version
}

// NewMem returns an empty table.
func NewMem() *Mem { return &Mem{parts: map[string]*memPart{}} }

// Get implements Store.
func (m *Mem) Get(ctx context.Context, key Key) (Item, error) {
	if err := checkRead(ctx, key); err != nil {
		return Item{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return Item{}, fmt.Errorf("get %v: %w", key, ErrClosed)
	}
	item, ok := m.find(key)
	if !ok {
		return Item{}, fmt.Errorf("get %v: %w", key, ErrNotFound)
	}
	return Item{Key: key, Value: slices.Clone(item.value), Version: item.version}, nil
}

// Write implements Store.
func (m *Mem) Write(ctx context.Context, writes ...Write) []Result {
	results := make([]Result, len(writes))
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, w := range writes {
		results[i] = m.write(ctx, w)
	}
	return results
}

func (m *Mem) write(ctx context.Context, w Write) Result {
	if err := checkWrite(ctx, w); err != nil {
		return Result{Err: err}
	}
	_, version := w.drawNonce()
	if m.closed {
		return Result{Version: version, Err: fmt.Errorf("write %v: %w", w.Key, ErrClosed)}
	}
	item, exists := m.find(w.Key)
	if !w.holds(exists, item.version) {
		return Result{Version: version, Err: fmt.Errorf("write %v: %w", w.Key, ErrConflict)}
	}
	if w.Delete {
		m.remove(w.Key)
	} else {
		m.put(w.Key, memItem{value: slices.Clone(w.Value), version: version})
	}
	return Result{Version: version}
}

func (m *Mem) find(key Key) (memItem, bool) {
	p, ok := m.parts[key.Part]
	if !ok {
		return memItem{}, false
	}
	item, ok := p.items[key.Sort]
	return item, ok
}

func (m *Mem) put(key Key, item memItem) {
	p, ok := m.parts[key.Part]
	if !ok {
		p = &memPart{items: map[string]memItem{}}
		m.parts[key.Part] = p
	}
	if _, exists := p.items[key.Sort]; !exists {
		i, _ := slices.BinarySearch(p.sorted, key.Sort)
		p.sorted = slices.Insert(p.sorted, i, key.Sort)
	}
	p.items[key.Sort] = item
}

func (m *Mem) remove(key Key) {
	p, ok := m.parts[key.Part]
	if !ok {
		return
	}
	i, found := slices.BinarySearch(p.sorted, key.Sort)
	if !found {
		return
	}
	p.sorted = slices.Delete(p.sorted, i, i+1)
	delete(p.items, key.Sort)
	if len(p.sorted) == 0 {
		delete(m.parts, key.Part)
	}
}

// Query implements Store.
func (m *Mem) Query(ctx context.Context, part string, r Range) ([]Item, error) {
	if err := checkQuery(ctx, part); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, fmt.Errorf("query %q: %w", part, ErrClosed)
	}
	p, ok := m.parts[part]
	if !ok {
		return nil, nil
	}
	from, _ := slices.BinarySearch(p.sorted, r.From)
	to := len(p.sorted)
	if r.To != "" {
		to, _ = slices.BinarySearch(p.sorted, r.To)
	}
	return p.collect(part, p.sorted[from:max(from, to)], r), nil
}

// collect returns the items of the selected sort keys as r orders and limits them.
func (p *memPart) collect(part string, sorted []string, r Range) []Item {
	n := len(sorted)
	if r.Limit > 0 {
		n = min(n, r.Limit)
	}
	items := make([]Item, 0, n)
	for i := range n {
		sort := sorted[i]
		if r.Reverse {
			sort = sorted[len(sorted)-1-i]
		}
		item := p.items[sort]
		items = append(items, Item{Key: Key{Part: part, Sort: sort}, Value: slices.Clone(item.value), Version: item.version})
	}
	return items
}

// Close implements Store; it drops all items.
func (m *Mem) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.parts = true, nil
	return nil
}
