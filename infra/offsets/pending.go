package offsets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Pending is what a producer's open transaction commits in one group. It counts for
// nobody until the transaction ends.
type Pending struct {
	Group    string
	Producer id.Producer
	Epoch    int16 // of the producer
	Entries  []Entry
}

// PendingWrite replaces a Pending as a whole, for the coordinator of that epoch; one
// without entries removes it.
type PendingWrite struct {
	Shard       int32
	Coordinator id.Epoch
	Pending
}

// pendingShard is what the Table knows of the pending offsets of one shard.
type pendingShard struct {
	mu     sync.Mutex
	loaded bool
	epoch  id.Epoch // under which it was loaded
	head   kv.Version
	headed bool // the head is ours
	items  map[string]pendingKnown
}

// pendingKnown is what is known of one item.
type pendingKnown struct {
	version  kv.Version // "": there is none
	doubtful bool       // a write of ours may still arrive
}

func (t *Table) pendingShard(shard int32) *pendingShard {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.pending[shard]
	if !ok {
		s = &pendingShard{}
		t.pending[shard] = s
	}
	return s
}

// LoadPending takes a shard's pending offsets over for the coordinator of that epoch,
// which must have been appointed before. It fails with ErrFenced if it has been replaced.
//
// Commit point: the head. A crash before leaves the shard to whom it belonged, though some
// items carry the new epoch; a crash after leaves items that the next one removes.
func (t *Table) LoadPending(ctx context.Context, shard int32, epoch id.Epoch) ([]Pending, error) {
	s := t.pendingShard(shard)
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed error
	for range attempts {
		var found []Pending
		if found, failed = t.takePending(ctx, s, shard, epoch); !errors.Is(failed, kv.ErrConflict) {
			return found, failPending("load", shard, failed)
		}
	}
	return nil, failPending("load", shard, contested(failed))
}

func failPending(verb string, shard int32, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s pending offsets of shard %d: %w", verb, shard, err)
}

// takePending is one attempt of LoadPending.
func (t *Table) takePending(ctx context.Context, s *pendingShard, shard int32, epoch id.Epoch) ([]Pending, error) {
	if s.loaded && epoch < s.epoch {
		return nil, fmt.Errorf("%w: epoch %d is over", ErrFenced, epoch)
	}
	head, items, err := t.queryPending(ctx, shard)
	if err != nil {
		return nil, err
	}
	known := make(map[string]pendingKnown, len(items))
	var found []Pending
	var adopt, drop []kv.Write
	for _, it := range append(slices.Clone(items), head) {
		if it.epoch > epoch {
			return nil, fmt.Errorf("%w: it has epoch %d, we have %d", ErrFenced, it.epoch, epoch)
		}
	}
	for _, it := range items {
		w := kv.Write{Key: it.key, If: it.version}
		if it.ended || it.epoch < head.epoch {
			w.Delete = true
			drop = append(drop, w)
			continue
		}
		it.epoch = epoch
		if w.Value, err = appendPending(nil, it); err != nil {
			return nil, err
		}
		adopt, found = append(adopt, w), append(found, it.Pending)
	}
	if err := t.settlePending(ctx, known, adopt); err != nil {
		return nil, err
	}
	s.loaded, s.epoch, s.items, s.head, s.headed = false, epoch, known, head.version, false
	if len(items) > 0 || head.version != "" {
		if err := t.writeHead(ctx, s, shard); err != nil {
			return nil, err
		}
	}
	if err := t.settlePending(ctx, known, drop); err != nil {
		return nil, err
	}
	s.loaded = true
	return found, nil
}

// queryPending reads a shard's items. The head has epoch -1 and no version if there is none.
func (t *Table) queryPending(ctx context.Context, shard int32) (head pendingItem, items []pendingItem, err error) {
	stored, err := t.store.Query(ctx, pendingPart(shard), kv.Range{})
	if err != nil {
		return head, nil, err
	}
	head.epoch = -1
	for _, st := range stored {
		it, err := decodePending(st.Key.Sort, st.Value)
		if err != nil {
			return head, nil, err
		}
		it.key, it.version = st.Key, st.Version
		if st.Key.Sort == pendingHead {
			head = it
		} else {
			items = append(items, it)
		}
	}
	return head, items, nil
}

// settlePending carries writes out and notes the versions.
func (t *Table) settlePending(ctx context.Context, known map[string]pendingKnown, writes []kv.Write) error {
	if len(writes) == 0 {
		return nil
	}
	var failed error
	for i, r := range kv.Settle(ctx, t.store, writes...) {
		switch {
		case r.Err != nil:
			failed = worse(failed, r.Err)
		case !writes[i].Delete:
			known[writes[i].Key.Sort] = pendingKnown{version: r.Version}
		}
	}
	return failed
}

// writeHead makes the head ours.
func (t *Table) writeHead(ctx context.Context, s *pendingShard, shard int32) error {
	value, err := appendPending(nil, pendingItem{epoch: s.epoch})
	if err != nil {
		return err
	}
	key := kv.Key{Part: pendingPart(shard), Sort: pendingHead}
	r := kv.Settle(ctx, t.store, kv.Write{Key: key, Value: value, If: s.head})[0]
	if r.Err != nil {
		return r.Err
	}
	s.head, s.headed = r.Version, true
	return nil
}

// claimHead makes the head ours, whoever of lower epoch has written it meanwhile.
func (t *Table) claimHead(ctx context.Context, s *pendingShard, shard int32) error {
	var failed error
	for range attempts {
		if failed = t.writeHead(ctx, s, shard); !errors.Is(failed, kv.ErrConflict) {
			return failed
		}
		head, err := t.store.Get(ctx, kv.Key{Part: pendingPart(shard), Sort: pendingHead})
		if errors.Is(err, kv.ErrNotFound) {
			s.head = ""
			continue
		}
		if err != nil {
			return err
		}
		it, err := decodePending(pendingHead, head.Value)
		if err != nil {
			return err
		}
		if it.epoch > s.epoch {
			return fmt.Errorf("%w: it has epoch %d, we have %d", ErrFenced, it.epoch, s.epoch)
		}
		s.head = head.Version
	}
	return contested(failed)
}

// ForgetPending drops what the Table knows of a shard up to that epoch.
func (t *Table) ForgetPending(shard int32, epoch id.Epoch) {
	s := t.pendingShard(shard)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch <= epoch {
		s.loaded, s.headed, s.items = false, false, nil
	}
}

// WritePending stores changes of pending offsets, of two for one producer and group the
// later one, with one write and one question to the Authority, and returns an error for each.
// Their shards must be loaded under the epoch. ErrFenced says that the coordinator has been
// replaced; with another error a change may or may not be stored.
func (t *Table) WritePending(ctx context.Context, writes []PendingWrite) []error {
	errs := make([]error, len(writes))
	defer t.lockPending(writes)()
	open := make(map[kv.Key]*pendingChange, len(writes))
	for i, w := range writes {
		c, err := t.pendingChange(ctx, w)
		if err != nil {
			errs[i] = failPending("write", w.Shard, err)
			continue
		}
		if before := open[c.key]; before != nil {
			c.of = before.of
		}
		c.of = append(c.of, i)
		open[c.key] = c
	}
	settle := func(c *pendingChange, err error) {
		for _, i := range c.of {
			errs[i] = failPending("write", c.write.Shard, err)
		}
		delete(open, c.key)
	}
	all := slices.Collect(maps.Values(open))
	for range attempts {
		t.writePending(ctx, slices.Collect(maps.Values(open)), settle)
	}
	for _, c := range open {
		settle(c, contested(c.failed))
	}
	err := t.authority.Refresh(ctx)
	for _, c := range all {
		if errs[c.of[0]] == nil {
			settle(c, t.answerable(err, c.write))
		}
	}
	return errs
}

// answerable is the package's first rule for pending offsets.
func (t *Table) answerable(refreshed error, w PendingWrite) error {
	if refreshed != nil {
		return fmt.Errorf("ask who the coordinator is: %w", refreshed)
	}
	if !t.authority.Holds(w.Group, w.Coordinator) {
		return fmt.Errorf("%w: epoch %d is over", ErrFenced, w.Coordinator)
	}
	return nil
}

// lockPending locks the shards, in order, and returns what unlocks them.
func (t *Table) lockPending(writes []PendingWrite) func() {
	shards := map[int32]*pendingShard{}
	for _, w := range writes {
		shards[w.Shard] = t.pendingShard(w.Shard)
	}
	for _, shard := range slices.Sorted(maps.Keys(shards)) {
		shards[shard].mu.Lock()
	}
	return func() {
		for _, s := range shards {
			s.mu.Unlock()
		}
	}
}

// pendingChange is a PendingWrite under way.
type pendingChange struct {
	write  PendingWrite
	shard  *pendingShard
	key    kv.Key
	of     []int // the writes that it answers for
	failed error // the conflict it met
}

// pendingChange makes ready for one write: its shard loaded and the head ours.
func (t *Table) pendingChange(ctx context.Context, w PendingWrite) (*pendingChange, error) {
	sort, err := pendingKey(w.Producer, w.Group)
	if err != nil {
		return nil, err
	}
	c := &pendingChange{write: w, shard: t.pendingShard(w.Shard), key: kv.Key{Part: pendingPart(w.Shard), Sort: sort}}
	s := c.shard
	if !s.loaded || s.epoch != w.Coordinator || !t.authority.Holds(w.Group, w.Coordinator) {
		return nil, fmt.Errorf("%w: epoch %d is over", ErrFenced, w.Coordinator)
	}
	if s.headed || len(w.Entries) == 0 {
		return c, nil
	}
	if err := t.claimHead(ctx, s, w.Shard); err != nil {
		return nil, err
	}
	err = t.answerable(t.authority.Refresh(ctx), w)
	s.headed = err == nil
	return c, err
}

// value returns the write that makes the change.
func (c *pendingChange) value() (kv.Write, error) {
	known := c.shard.items[c.key.Sort]
	w := kv.Write{Key: c.key, If: known.version}
	it := pendingItem{Pending: c.write.Pending, epoch: c.write.Coordinator}
	if len(c.write.Entries) == 0 {
		if it.ended = known.doubtful; !it.ended {
			w.Delete = true
			return w, nil
		}
	}
	var err error
	w.Value, err = appendPending(nil, it)
	return w, err
}

// writePending is one attempt. settle is called for what needs no other.
func (t *Table) writePending(ctx context.Context, changes []*pendingChange, settle func(*pendingChange, error)) {
	var writes []kv.Write
	var of []*pendingChange
	for _, c := range changes {
		w, err := c.value()
		switch {
		case err != nil:
			settle(c, err)
		case w.Delete && w.If == "":
			settle(c, nil)
		default:
			writes, of = append(writes, w), append(of, c)
		}
	}
	if len(writes) == 0 {
		return
	}
	for i, r := range kv.Settle(ctx, t.store, writes...) {
		c := of[i]
		items := c.shard.items
		known := items[c.key.Sort]
		switch {
		case r.Err == nil && writes[i].Delete:
			delete(items, c.key.Sort)
			settle(c, nil)
		case r.Err == nil:
			known.version = r.Version
			items[c.key.Sort] = known
			settle(c, nil)
		case errors.Is(r.Err, kv.ErrConflict):
			if c.failed = r.Err; !t.reread(ctx, c, settle) {
				continue
			}
		default:
			known.doubtful = known.doubtful || errors.Is(r.Err, kv.ErrUnknown) && !writes[i].Delete
			items[c.key.Sort] = known
			settle(c, r.Err)
		}
	}
}

// reread finds out what has come in between: the late write of ours or of one we have replaced.
func (t *Table) reread(ctx context.Context, c *pendingChange, settle func(*pendingChange, error)) bool {
	known := c.shard.items[c.key.Sort]
	item, err := t.store.Get(ctx, c.key)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		known.version = ""
	case err != nil:
		settle(c, err)
		return false
	default:
		it, err := decodePending(c.key.Sort, item.Value)
		if err == nil && it.epoch > c.write.Coordinator {
			err = fmt.Errorf("%w: it has epoch %d, we have %d", ErrFenced, it.epoch, c.write.Coordinator)
		}
		if err != nil {
			settle(c, err)
			return false
		}
		known.version = item.Version
	}
	c.shard.items[c.key.Sort] = known
	return true
}
