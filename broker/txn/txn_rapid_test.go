package txn

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/transactions"
)

// TestRandomEvents holds the state machine to the rules of transactions under the events of
// several clients of one id, of both versions, some of which miss answers and repeat requests.
func TestRandomEvents(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWalk(t)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			w.step()
		}
	})
}

// identity is what a client is given by an answer.
type identity struct {
	producer id.Producer
	epoch    int16
}

func (i identity) less(j identity) bool {
	return i.producer < j.producer || i.producer == j.producer && i.epoch < j.epoch
}

// instance is one process of an application.
type instance struct {
	name    string
	version int8 // transaction version
	has     identity
}

// walk is a random run and a plain model of what may come of it.
type walk struct {
	t      *rapid.T
	server int8
	state  transactions.Transaction
	now    time.Time
	fresh  id.Producer
	all    []*instance

	given   map[identity]*instance
	newest  identity // that was given
	fenced  bool     // the client that has newest must not go on
	decided int      // transactions that have an outcome
	commit  bool     // outcome of the last one
	last    *ended   // the last end that a client decided, if nothing else has happened since
}

type ended struct {
	by     identity
	event  End
	answer identity
}

func newWalk(t *rapid.T) *walk {
	w := &walk{t: t, server: rapid.SampledFrom([]int8{0, 2}).Draw(t, "server"), now: start, fresh: 100, given: map[identity]*instance{}}
	for _, name := range []string{"a", "b", "c"} {
		version := rapid.SampledFrom([]int8{0, w.server}).Draw(t, "version")
		w.all = append(w.all, &instance{name: name, version: version, has: identity{id.NoProducer, noEpoch}})
	}
	w.newest = identity{id.NoProducer, noEpoch}
	if rapid.Bool().Draw(t, "old") { // an id that was used often
		w.state = is(empty, math.MaxInt16-5)
		w.newest = identity{w.state.Producer, w.state.Epoch}
		w.fenced = true
	}
	return w
}

func (w *walk) step() {
	w.now = w.now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour}).Draw(w.t, "pause"))
	c := rapid.SampledFrom(w.all).Draw(w.t, "client")
	if owner := w.given[w.newest]; owner != nil && rapid.IntRange(0, 2).Draw(w.t, "owner") > 0 {
		c = owner
	}
	add := []id.Partition{part(rapid.Int32Range(0, 3).Draw(w.t, "partition"))}
	switch rapid.SampledFrom([]string{"init", "add", "add", "add", "end", "end", "repeat", "verify", "complete", "complete", "expire"}).Draw(w.t, "event") {
	case "init":
		ev := Init{Timeout: time.Minute, Producer: id.NoProducer, Epoch: noEpoch, Fresh: id.NoProducer, Server: w.server}
		if rapid.Bool().Draw(w.t, "named") {
			ev.Producer, ev.Epoch = c.has.producer, c.has.epoch
		}
		w.init(c, ev)
	case "add":
		w.part(c, Add{Producer: c.has.producer, Epoch: c.has.epoch, Partitions: add, Version: c.version})
	case "verify":
		w.part(c, Verify{Producer: c.has.producer, Epoch: c.has.epoch, Partitions: add})
	case "end":
		w.end(c, End{Producer: c.has.producer, Epoch: c.has.epoch, Commit: rapid.Bool().Draw(w.t, "commit"), Version: c.version, Fresh: id.NoProducer})
	case "repeat":
		if w.last != nil {
			w.end(w.given[w.last.by], w.last.event)
		}
	case "complete":
		w.happen(Complete{})
	case "expire":
		open := w.state.State == transactions.Ongoing && w.now.After(Due(&w.state))
		o := w.happen(Expire{Server: w.server})
		require.Equal(w.t, open, o.Changed)
		w.fenced = w.fenced || o.Changed
	}
}

// happen takes a step, with a producer id if it needs one, and checks what holds for all.
func (w *walk) happen(ev Event) Outcome {
	before := w.state
	o := Step(before, w.now, ev)
	if errors.Is(o.Err, ErrNeedProducer) {
		w.fresh++
		switch e := ev.(type) {
		case Init:
			e.Fresh = w.fresh
			ev = e
		case End:
			e.Fresh = w.fresh
			ev = e
		}
		o = Step(before, w.now, ev)
		require.NotErrorIs(w.t, o.Err, ErrNeedProducer)
	}
	if !o.Changed {
		require.Equal(w.t, before, o.Next)
		return o
	}
	w.state = o.Next
	if _, completes := ev.(Complete); !completes {
		w.last = nil
	}
	if before.State != transactions.None {
		require.False(w.t, identity{o.Next.Producer, o.Next.Epoch}.less(identity{before.Producer, before.Epoch}), "epochs never go back")
	}
	w.transition(before.State, o.Next.State)
	return o
}

// transition checks that each transaction has one outcome.
func (w *walk) transition(from, to transactions.State) {
	switch to {
	case transactions.Empty, transactions.Ongoing:
		require.False(w.t, from.Preparing())
		require.True(w.t, to != transactions.Empty || from != transactions.Ongoing, "it is forgotten while it is open")
	case transactions.PrepareCommit, transactions.PrepareAbort:
		require.Equal(w.t, transactions.Ongoing, from)
		w.decided++
		w.commit = to == transactions.PrepareCommit
	case transactions.CompleteCommit:
		require.Equal(w.t, transactions.PrepareCommit, from)
	case transactions.CompleteAbort:
		if from != transactions.PrepareAbort { // there was nothing to abort
			require.False(w.t, from.Preparing() || from == transactions.Ongoing)
			w.decided++
			w.commit = false
		}
	}
	if to.Preparing() {
		require.NotEmpty(w.t, w.state.Partitions)
	}
}

// give notes what a client was answered, which it may miss. No other client is ever given the same.
func (w *walk) give(c *instance, got identity) {
	if owner := w.given[got]; owner != nil {
		require.Equal(w.t, owner.name, c.name, "two clients are given %v", got)
	}
	require.False(w.t, got.less(w.newest), "given %v after %v", got, w.newest)
	require.False(w.t, w.fenced && got == w.newest, "a fenced one is given to %s", c.name)
	w.given[got], w.newest, w.fenced = c, got, false
	if rapid.IntRange(0, 4).Draw(w.t, "missed") > 0 {
		c.has = got
	}
}

func (w *walk) init(c *instance, ev Init) {
	before := w.state
	o := w.happen(ev)
	anyone := ev.Producer == id.NoProducer
	switch {
	case o.Err == nil:
		require.False(w.t, before.State == transactions.Ongoing || before.State.Preparing())
		w.give(c, identity{o.Producer, o.Epoch})
	case o.Changed:
		require.ErrorIs(w.t, o.Err, ErrConcurrent)
		require.Equal(w.t, transactions.Ongoing, before.State)
		w.fenced = true
	case anyone:
		require.ErrorIs(w.t, o.Err, ErrConcurrent)
		require.True(w.t, before.State.Preparing())
	}
}

// owns reports whether the newest client has given its identity.
func (w *walk) owns(by identity) bool {
	return by == w.newest && !w.fenced && by.producer != id.NoProducer
}

// part is an event of a client in its transaction.
func (w *walk) part(c *instance, ev Event) {
	before := w.state.State
	o := w.happen(ev)
	owner := w.owns(c.has)
	require.True(w.t, owner || o.Err != nil, "%s is fenced", c.name)
	if owner {
		require.Equal(w.t, before.Preparing(), o.Err != nil, "%s in %s: %v", c.name, before, o.Err)
	}
}

func (w *walk) end(c *instance, ev End) {
	before, first, decided := w.state.State, w.last, w.decided
	by := identity{ev.Producer, ev.Epoch}
	owner := w.owns(by)
	repeated := first != nil && first.by == by && first.event.Commit == ev.Commit
	o := w.happen(ev)
	answer := identity{o.Producer, o.Epoch}
	if o.Err == nil {
		require.True(w.t, owner || repeated, "%s is fenced", c.name)
		require.Equal(w.t, w.commit, ev.Commit)
	}
	switch {
	case w.decided > decided:
		require.True(w.t, owner, "%s is fenced", c.name)
		if ev.Version >= bumping {
			require.True(w.t, by.less(answer))
			w.give(c, answer)
		}
		w.last = &ended{by, ev, answer}
	case owner && before == transactions.Ongoing:
		require.Fail(w.t, "it is not ended", "%v", o.Err)
	case repeated && before.Preparing():
		require.ErrorIs(w.t, o.Err, ErrConcurrent)
	case repeated:
		require.NoError(w.t, o.Err, "in %s", before)
		require.Equal(w.t, first.answer, answer)
		if ev.Version >= bumping && c.has == by {
			c.has = answer
		}
	}
}
