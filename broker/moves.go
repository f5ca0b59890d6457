package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/broker/takeover"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
)

// freezeTime bounds how long a partition that is to move takes no appends while the last
// ones become committed.
const freezeTime = 5 * time.Second

// chooser says which broker shall lead each of this broker's partitions that are to move.
type chooser func(img *metalog.Image) map[id.Partition]id.Broker

// release gives away the partitions whose target is another broker.
func (c *cluster) release(ctx context.Context) error {
	if !c.session.Valid() {
		return nil
	}
	return c.giveAway(ctx, c.targeted, nil)
}

// targeted chooses the live targets that the metadata has for partitions of this broker.
func (c *cluster) targeted(img *metalog.Image) map[id.Partition]id.Broker {
	self, to := c.b.cfg.NodeID, map[id.Partition]id.Broker{}
	for _, t := range img.Topics() {
		for i := range t.Partitions {
			state := &t.Partitions[i]
			if state.Leader == self && state.Target != metalog.NoBroker && state.Target != self && placement.IsLive(img, state.Target) {
				to[id.Partition{Topic: t.ID, Index: int32(i)}] = state.Target
			}
		}
	}
	return to
}

// leave gives all partitions to other brokers and tells everyone that this one is gone.
// What cannot be given away in time is taken over by the others, who need not wait for the
// end of a session that is closed. The background work has ended: of two that give the same
// partition away, one would let it take appends that the other does not know of.
func (c *cluster) leave(ctx context.Context) error {
	if !c.session.Valid() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, freezeTime+tableTime)
	defer cancel()
	drain := func(img *metalog.Image) map[id.Partition]id.Broker {
		to := c.targeted(img) // which Drain leaves out
		for _, t := range placement.Drain(img, c.b.cfg.NodeID) {
			to[t.Partition] = t.Target
		}
		return to
	}
	if err := c.giveAway(ctx, drain, []metalog.Record{metalog.BrokerFenced{ID: c.b.cfg.NodeID, Session: c.session.ID()}}); err != nil {
		return err
	}
	return c.awaitOthers(ctx)
}

// awaitOthers gives the other brokers the time to learn what was appended to the metadata log:
// until then they send clients here, to a broker that is a leader and a coordinator no more and
// says so, where they should find it gone later only.
func (c *cluster) awaitOthers(ctx context.Context) error {
	wait := time.NewTimer(2 * c.cfg.MetadataPoll)
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the others to learn of the new leaders: %w", ctx.Err())
	}
}

// giveAway moves the leadership of partitions by this broker's own hand: no appends, all
// that was appended committed, and then the new leaders in the metadata log, with the last
// slot of this session's stream. last is appended with the last of them.
//
// Commit point of each move: the slot of the metadata log. A crash before it leaves this
// broker the leader; after it the new one recovers what is in the stream up to that slot.
func (c *cluster) giveAway(ctx context.Context, choose chooser, last []metalog.Record) error {
	ps := slices.Collect(maps.Keys(choose(c.b.meta.Image())))
	if len(ps) == 0 && len(last) == 0 {
		return nil
	}
	logs := c.b.storage.logs
	for _, p := range ps {
		logs.Get(p) // one that was made a moment ago gets its log, so that it can be frozen
	}
	freeze, cancel := context.WithTimeout(ctx, freezeTime)
	ready, frozen := logs.Freeze(freeze, ps)
	cancel()
	tail := &metalog.Tail{Session: c.session.ID(), Through: c.stream.Through()}
	for done := false; !done; {
		part := ready[:min(len(ready), takeover.MaxChanges)]
		ready = ready[len(part):]
		done = len(ready) == 0
		err := c.appendMoves(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
			records, err := c.moves(img, part, choose(img), tail)
			if err == nil && done {
				records = append(records, last...)
			}
			return records, err
		})
		if errors.Is(err, errInDoubt) {
			return errors.Join(frozen, err) // what may have moved takes no appends any more
		}
		if err != nil {
			logs.Thaw(ps)
			return errors.Join(frozen, fmt.Errorf("give away %d partitions: %w", len(ps), err))
		}
	}
	c.metrics.released(c.gone(ps))
	logs.Thaw(ps) // those that have moved are closed by now
	return frozen
}

// errInDoubt: it is not known whether partitions have moved.
var errInDoubt = errors.New("not known whether the metadata log has it")

// appendMoves appends what decide returns. While it is not known whether an attempt was
// applied it tries again: a broker that takes appends to what it has given away would
// acknowledge records that nobody reads. It fails with errInDoubt when ctx or the session
// ends before that; after any other error nothing was appended.
func (c *cluster) appendMoves(ctx context.Context, decide func(*metalog.Image) ([]metalog.Record, error)) error {
	var doubt, attempted uint64 // slots
	for {
		try, cancel := context.WithTimeout(ctx, tableTime)
		_, err := c.b.meta.Update(try, func(img *metalog.Image) ([]metalog.Record, error) {
			records, err := decide(img)
			if err == nil && len(records) == 0 && img.Version() < doubt {
				records = []metalog.Record{metalog.TargetsSet{}} // takes the slot that an attempt may still get
			}
			attempted = img.Version() + 1
			return records, err
		})
		cancel()
		unknown := errors.Is(err, kv.ErrUnknown)
		switch {
		case err == nil, doubt > 0 && errors.Is(err, ErrSessionLost): // this broker's last record, for one, was applied
			return nil
		case doubt == 0 && !unknown, errors.Is(err, ErrSessionLost):
			return err
		}
		if unknown {
			doubt = max(doubt, attempted)
		}
		select {
		case <-time.After(retryDoubt):
		case <-c.session.Lost():
			return fmt.Errorf("%w: %w", errInDoubt, err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errInDoubt, err)
		}
	}
}

// retryDoubt is the pause between attempts to find out about a move.
const retryDoubt = 100 * time.Millisecond

// gone counts the partitions that this broker does not lead any more.
func (c *cluster) gone(ps []id.Partition) (n int) {
	img := c.b.meta.Image()
	for _, p := range ps {
		if state, ok := img.Partition(p); !ok || state.Leader != c.b.cfg.NodeID {
			n++
		}
	}
	return n
}

// moves returns the records that move partitions, which are frozen, as far as they
// are still this broker's to give.
func (c *cluster) moves(img *metalog.Image, ps []id.Partition, to map[id.Partition]id.Broker, tail *metalog.Tail) ([]metalog.Record, error) {
	self, ok := img.Broker(c.b.cfg.NodeID)
	if !ok || self.Incarnation != c.session.ID() || self.Fenced {
		return nil, ErrSessionLost
	}
	var changes []metalog.LeaderChange
	for _, p := range ps {
		state, ok := img.Partition(p)
		target, chosen := to[p]
		if ok && chosen && state.Leader == self.ID && target != self.ID {
			changes = append(changes, metalog.LeaderChange{Partition: p, Leader: target, Epoch: state.Epoch + 1})
		}
	}
	if len(changes) == 0 {
		return nil, nil
	}
	return []metalog.Record{metalog.LeadersChanged{Changes: changes, Tail: tail}}, nil
}
