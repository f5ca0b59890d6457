package kv

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
)

// ErrInjected is the cause of every failure that Inject and NewFlaky make up. It is a kind of ErrUnavailable.
var ErrInjected = fmt.Errorf("%w: injected failure", ErrUnavailable)

// OpKind is what an Op does.
type OpKind int

// The kinds of Op.
const (
	OpGet   OpKind = iota
	OpQuery        // Key.Sort is empty
	OpWrite        // one Write, of however many in the call
	OpLand         // a FaultLate write is waiting: no fault applies it now
)

// Op is an operation about to be done.
type Op struct {
	Kind OpKind
	Key  Key
}

// Fault is what to do to an Op.
type Fault int

// The faults. Reads know only FaultNone; any other fails them.
const (
	FaultNone   Fault = iota
	FaultFail         // ErrUnavailable; it is not applied
	FaultLost         // ErrUnknown; it was not applied
	FaultLanded       // ErrUnknown; it was applied, if its condition held
	FaultLate         // ErrUnknown; it is applied before some later operation, if its condition holds then
)

// Faulty is a Store that fails as it is told to. FaultLate needs a driver of this package.
type Faulty struct {
	Store
	decide func(Op) Fault

	mu   sync.Mutex
	late []Write
}

// Inject asks decide before every operation. It is called by many goroutines at once.
func Inject(s Store, decide func(Op) Fault) *Faulty { return &Faulty{Store: s, decide: decide} }

// FlakyRates are probabilities between 0 and 1.
type FlakyRates struct {
	Fail, Lost, Landed, Late float64 // of writes; together at most 1
	Read                     float64 // of reads that fail
}

// NewFlaky injects faults at random, the same ones for the same seed and order of operations.
func NewFlaky(s Store, seed uint64, rates FlakyRates) *Faulty {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0))
	return Inject(s, func(op Op) Fault {
		mu.Lock()
		defer mu.Unlock()
		return rates.draw(op, rng.Float64())
	})
}

func (r FlakyRates) draw(op Op, x float64) Fault {
	switch op.Kind {
	case OpGet, OpQuery:
		if x < r.Read {
			return FaultFail
		}
		return FaultNone
	case OpLand:
		if x < 0.8 { // stays away for five operations on average
			return FaultLate
		}
		return FaultNone
	}
	for _, f := range []struct {
		rate  float64
		fault Fault
	}{{r.Fail, FaultFail}, {r.Lost, FaultLost}, {r.Landed, FaultLanded}, {r.Late, FaultLate}} {
		if x < f.rate {
			return f.fault
		}
		x -= f.rate
	}
	return FaultNone
}

// Get implements Store.
func (f *Faulty) Get(ctx context.Context, key Key) (Item, error) {
	f.land(ctx)
	if f.decide(Op{Kind: OpGet, Key: key}) != FaultNone {
		return Item{}, fmt.Errorf("get %v: %w", key, ErrInjected)
	}
	return f.Store.Get(ctx, key)
}

// Query implements Store.
func (f *Faulty) Query(ctx context.Context, part string, r Range) ([]Item, error) {
	f.land(ctx)
	if f.decide(Op{Kind: OpQuery, Key: Key{Part: part}}) != FaultNone {
		return nil, fmt.Errorf("query %q: %w", part, ErrInjected)
	}
	return f.Store.Query(ctx, part, r)
}

// Write implements Store.
func (f *Faulty) Write(ctx context.Context, writes ...Write) []Result {
	f.land(ctx)
	results := make([]Result, len(writes))
	var apply []Write
	var index []int
	var faults []Fault
	for i, w := range writes {
		switch fault := f.decide(Op{Kind: OpWrite, Key: w.Key}); fault {
		case FaultFail:
			results[i].Err = fmt.Errorf("write %v: %w", w.Key, ErrInjected)
		case FaultLost:
			results[i] = unknown(w.Key, encodeNonce(newNonce()))
		case FaultLate:
			results[i] = unknown(w.Key, f.postpone(w))
		default:
			apply, index, faults = append(apply, w), append(index, i), append(faults, fault)
		}
	}
	for i, r := range f.Store.Write(ctx, apply...) {
		if faults[i] == FaultLanded {
			r = unknown(apply[i].Key, r.Version)
		}
		results[index[i]] = r
	}
	return results
}

func unknown(key Key, version Version) Result {
	return Result{Version: version, Err: fmt.Errorf("write %v: %w: %w", key, ErrUnknown, ErrInjected)}
}

func (f *Faulty) postpone(w Write) Version {
	nonce := newNonce()
	w.nonce = &nonce
	w.Value = bytes.Clone(w.Value) // the caller may use it again
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = append(f.late, w)
	return encodeNonce(nonce)
}

// land applies the late writes whose time has come.
func (f *Faulty) land(ctx context.Context) {
	f.mu.Lock()
	var now []Write
	waiting := f.late[:0]
	for _, w := range f.late {
		if f.decide(Op{Kind: OpLand, Key: w.Key}) == FaultNone {
			now = append(now, w)
		} else {
			waiting = append(waiting, w)
		}
	}
	f.late = waiting
	f.mu.Unlock()
	if len(now) > 0 {
		f.Store.Write(context.WithoutCancel(ctx), now...)
	}
}
