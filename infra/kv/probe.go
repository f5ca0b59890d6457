package kv

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// ErrUnsound is the table that does not keep a guarantee that Forebay's correctness rests on.
var ErrUnsound = errors.New("the table is unsound and Forebay refuses to run on it")

// How much Probe does.
const (
	probeTries   = 3 // with an outcome unknown each time but the last
	probeRounds  = 5 // of each race, and of reads after writes
	probeRacers  = 8
	probeCleanup = 5 * time.Second
)

// Probe tries the guarantees of Store on items of its own, which it removes afterwards:
// conditional puts and deletes, reads that see every write before them, and one winner
// among concurrent writers. It fails with ErrUnsound, which names the guarantee that is
// broken, or with the error that kept it from finding out. It costs some hundred small
// requests and proves nothing about rare failures. Any number of brokers may probe at once.
func Probe(ctx context.Context, s Store) error {
	var err error
	for range probeTries {
		p := &prober{ctx: ctx, store: s, part: "probe/" + string(encodeNonce(newNonce()))}
		err = p.run()
		p.cleanUp()
		if !errors.Is(err, ErrUnknown) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("probe the table: %w", err)
	}
	return nil
}

// prober is one run over items of one partition key.
type prober struct {
	ctx   context.Context
	store Store
	part  string

	mu   sync.Mutex
	used map[Key]bool
}

func (p *prober) run() error {
	for _, step := range []func() error{
		p.putIfAbsent, p.putIfVersion, p.deleteIfVersion, p.readAfterWrite, p.raceVersion, p.raceAbsent,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (p *prober) key(sort string) Key {
	k := Key{Part: p.part, Sort: sort}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used == nil {
		p.used = map[Key]bool{}
	}
	p.used[k] = true
	return k
}

// cleanUp removes the items. What is left behind after an error does no harm.
func (p *prober) cleanUp() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), probeCleanup)
	defer cancel()
	var writes []Write
	for k := range p.used {
		writes = append(writes, Write{Key: k, Delete: true, Any: true})
	}
	p.store.Write(ctx, writes...)
}

func unsound(format string, args ...any) error {
	return fmt.Errorf("%w: %s: use DynamoDB, or a table that is compatible in this", ErrUnsound, fmt.Sprintf(format, args...))
}

// mustApply writes and fails unless the write was applied.
func (p *prober) mustApply(what string, w Write) (Version, error) {
	r := p.store.Write(p.ctx, w)[0]
	if errors.Is(r.Err, ErrConflict) {
		return "", unsound("%s was refused although its condition holds", what)
	}
	return r.Version, r.Err
}

// mustConflict writes and fails unless the write was refused for its condition and the item
// stays what it is.
func (p *prober) mustConflict(what string, w Write, value string, version Version) error {
	r := p.store.Write(p.ctx, w)[0]
	switch {
	case r.Err == nil:
		return unsound("%s was applied", what)
	case !errors.Is(r.Err, ErrConflict):
		return r.Err
	}
	return p.mustRead("after "+what+" was refused", w.Key, value, version)
}

// mustRead reads the item by Get and by Query, and fails unless it is the one expected; no
// item is expected if version is "".
func (p *prober) mustRead(when string, k Key, value string, version Version) error {
	got, err := p.store.Get(p.ctx, k)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	items, err := p.store.Query(p.ctx, k.Part, Range{From: k.Sort, To: k.Sort + "\x00"})
	if err != nil {
		return err
	}
	var queried Item
	if len(items) > 0 {
		queried = items[0]
	}
	for how, item := range map[string]Item{"get": got, "query": queried} {
		if item.Version != version || string(item.Value) != value {
			return unsound("%s, %s found %s and not %s", when, how, describeItem(item), describeItem(Item{Value: []byte(value), Version: version}))
		}
	}
	return nil
}

func describeItem(i Item) string {
	if i.Version == "" {
		return "no item"
	}
	return fmt.Sprintf("%q of version %s", i.Value, i.Version)
}

func (p *prober) putIfAbsent() error {
	k := p.key("absent")
	if err := p.mustRead("before any write", k, "", ""); err != nil {
		return err
	}
	version, err := p.mustApply("put-if-absent", Write{Key: k, Value: []byte("first")})
	if err != nil {
		return err
	}
	if err := p.mustRead("after put-if-absent", k, "first", version); err != nil {
		return err
	}
	return p.mustConflict("put-if-absent on an item that exists", Write{Key: k, Value: []byte("second")}, "first", version)
}

// noVersion is one that no item has.
const noVersion Version = "no-version-of-any-item"

func (p *prober) putIfVersion() error {
	k := p.key("version")
	if err := p.mustConflict("put-if-version on no item", Write{Key: k, Value: []byte("x"), If: noVersion}, "", ""); err != nil {
		return err
	}
	first, err := p.mustApply("put-if-absent", Write{Key: k, Value: []byte("first")})
	if err != nil {
		return err
	}
	second, err := p.mustApply("put-if-version", Write{Key: k, Value: []byte("second"), If: first})
	if err != nil {
		return err
	}
	for _, wrong := range []Version{noVersion, first} {
		w := Write{Key: k, Value: []byte("third"), If: wrong}
		if err := p.mustConflict("put-if-version with a version that is not the item's", w, "second", second); err != nil {
			return err
		}
	}
	return nil
}

func (p *prober) deleteIfVersion() error {
	k := p.key("delete")
	first, err := p.mustApply("put-if-absent", Write{Key: k, Value: []byte("first")})
	if err != nil {
		return err
	}
	second, err := p.mustApply("put-if-version", Write{Key: k, Value: []byte("second"), If: first})
	if err != nil {
		return err
	}
	if err := p.mustConflict("delete-if-version with a version that is not the item's", Write{Key: k, Delete: true, If: first}, "second", second); err != nil {
		return err
	}
	if _, err := p.mustApply("delete-if-version", Write{Key: k, Delete: true, If: second}); err != nil {
		return err
	}
	if err := p.mustRead("after delete-if-version", k, "", ""); err != nil {
		return err
	}
	return p.mustConflict("delete-if-version on no item", Write{Key: k, Delete: true, If: second}, "", "")
}

// readAfterWrite puts and removes an item again and again, and reads it at once.
func (p *prober) readAfterWrite() error {
	k := p.key("read")
	for i := range probeRounds {
		value := strconv.Itoa(i)
		version, err := p.mustApply("put", Write{Key: k, Value: []byte(value), Any: true})
		if err != nil {
			return err
		}
		if err := p.mustRead("right after a put", k, value, version); err != nil {
			return err
		}
	}
	if _, err := p.mustApply("delete", Write{Key: k, Delete: true, Any: true}); err != nil {
		return err
	}
	return p.mustRead("right after a delete", k, "", "")
}

// raceVersion lets concurrent writers replace the same version of an item.
func (p *prober) raceVersion() error {
	k := p.key("race-version")
	version, err := p.mustApply("put-if-absent", Write{Key: k, Value: []byte("start")})
	for range probeRounds {
		if err != nil {
			return err
		}
		version, err = p.race("put-if-version", Write{Key: k, If: version})
	}
	return err
}

// raceAbsent lets concurrent writers put an item that is absent.
func (p *prober) raceAbsent() error {
	for i := range probeRounds {
		if _, err := p.race("put-if-absent", Write{Key: p.key("race-absent-" + strconv.Itoa(i))}); err != nil {
			return err
		}
	}
	return nil
}

// race makes the same conditional put from several goroutines at once, fails unless it was
// applied for exactly one of them, and returns the version of that one.
func (p *prober) race(what string, w Write) (Version, error) {
	results := make([]Result, probeRacers)
	start := make(chan struct{})
	var racers sync.WaitGroup
	for i := range results {
		racers.Go(func() {
			mine := w
			mine.Value = []byte(strconv.Itoa(i))
			<-start
			results[i] = p.store.Write(p.ctx, mine)[0]
		})
	}
	close(start)
	racers.Wait()
	winner, winners := 0, 0
	for i, r := range results {
		switch {
		case r.Err == nil:
			winner, winners = i, winners+1
		case !errors.Is(r.Err, ErrConflict):
			return "", r.Err
		}
	}
	if winners != 1 {
		return "", unsound("of %d concurrent writers with %s, all on the same condition, %d were told that they succeeded", probeRacers, what, winners)
	}
	version := results[winner].Version
	return version, p.mustRead("after concurrent writes with "+what, w.Key, strconv.Itoa(winner), version)
}
