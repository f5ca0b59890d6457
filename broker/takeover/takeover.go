// Package takeover is what follows from the death of a broker, for whoever notices it: brokers
// themselves, and functions where no broker is left to do it. It ends the dead session, fences its
// stream, gives its partitions to live brokers, and removes streams of which everything is sealed.
//
// Every step may be taken by several at once, and again after a crash: the second finds it done. It
// owns nothing but its settings; a Takeover is safe for concurrent use.
package takeover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/wal"
)

// MaxChanges is how many leaders are changed by one slot of the metadata log.
const MaxChanges = 2000

// Config of a Takeover.
type Config struct {
	Table kv.Store // the control table
	Meta  *metalog.Log
	Self  id.Broker // who observes, and is never taken over from; metalog.NoBroker: a function
	// OnTakeover, if not nil, is told of each broker from which partitions were taken over.
	OnTakeover func(partitions int)
	Logger     *slog.Logger // nil discards
}

// Takeover observes sessions and takes over from those that are dead.
type Takeover struct{ cfg Config }

// New returns a Takeover; it does no I/O.
func New(cfg Config) *Takeover {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OnTakeover == nil {
		cfg.OnTakeover = func(int) {}
	}
	return &Takeover{cfg}
}

// Outcome is what an Observe has found and done.
type Outcome struct {
	Alive      int // sessions that are renewed, or may be
	Dead       int // brokers whose death changed anything
	Partitions int // that were given to others
}

// Observe looks at the sessions of all brokers and takes over from those that are dead: those
// whose session item has not changed for the TTL, is gone, or is another session's. The watcher must
// be polled regularly, here and nowhere else. What fails for one broker does not keep the others.
//
// The Image is read before the sessions: a broker takes its session before it registers.
func (t *Takeover) Observe(ctx context.Context, watcher *session.Watcher) (Outcome, error) {
	img := t.cfg.Meta.Image()
	items, err := watcher.Poll(ctx)
	if err != nil {
		return Outcome{}, err
	}
	var out Outcome
	seen := make(map[id.Broker]session.Seen, len(items))
	for _, s := range items {
		seen[s.Node] = s
		if !s.Expired {
			out.Alive++
		}
	}
	var errs []error
	var gone []*metalog.Broker
	for _, node := range img.Brokers() {
		if node.ID == t.cfg.Self || node.Incarnation == "" || !Bereaved(img, node) {
			continue
		}
		s, there := seen[node.ID]
		dead, err := t.dead(ctx, node, s, there)
		if dead {
			gone = append(gone, node)
		}
		errs = append(errs, err)
	}
	out.Dead = len(gone)
	if len(gone) > 1 {
		errs = append(errs, t.fence(ctx, gone))
	}
	for _, node := range gone {
		n, err := t.From(ctx, node.ID, node.Incarnation)
		out.Partitions += n
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// fence marks several brokers as dead before anything is given away, so that none of them gets what another had.
func (t *Takeover) fence(ctx context.Context, gone []*metalog.Broker) error {
	for _, node := range gone {
		if _, err := wal.Fence(ctx, wal.Slots(t.cfg.Table, node.Incarnation), t.cfg.Self); err != nil {
			return fmt.Errorf("fence broker %d: %w", node.ID, err)
		}
	}
	_, err := t.cfg.Meta.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
		var records []metalog.Record
		for _, node := range gone {
			if was, ok := img.Broker(node.ID); ok && !was.Fenced && was.Incarnation == node.Incarnation {
				records = append(records, metalog.BrokerFenced{ID: node.ID, Session: node.Incarnation})
			}
		}
		return records, nil
	})
	return err
}

// dead ends the session of a broker if it has expired, and reports whether it is over.
func (t *Takeover) dead(ctx context.Context, node *metalog.Broker, s session.Seen, there bool) (bool, error) {
	if !there || s.Session != node.Incarnation {
		return true, nil
	}
	if !s.Expired {
		return false, nil
	}
	err := session.Kill(ctx, t.cfg.Table, s)
	if errors.Is(err, session.ErrAlive) {
		return false, nil
	}
	return err == nil, err
}

// Bereaved reports whether the death of a broker would change anything.
func Bereaved(img *metalog.Image, node *metalog.Broker) bool {
	return !node.Fenced || len(heirs(img, node.ID)) > 0
}

// heirs are the new leaders of what a dead broker leads. Where nobody lives there are none, and the
// leaders stay named: each broker that comes back leads again what it has led, at once, and takes the rest over.
func heirs(img *metalog.Image, dead id.Broker) []metalog.LeaderChange {
	if live := placement.Live(img); len(live) == 0 || len(live) == 1 && live[0].ID == dead {
		return nil
	}
	return placement.Failover(img, dead)
}

// From gives the partitions of a dead session to live brokers, and returns how many.
//
// Its session item is gone before. Then the session's stream is fenced, so that nothing
// that it still tries is committed; then the new leaders are in the metadata log, with the
// last slot that counts. A crash, or another one's takeover, between any two of these
// leaves the rest to whoever sees it next.
func (t *Takeover) From(ctx context.Context, node id.Broker, dead id.Session) (changed int, err error) {
	through, err := wal.Fence(ctx, wal.Slots(t.cfg.Table, dead), t.cfg.Self)
	if err != nil {
		return 0, fmt.Errorf("take over from broker %d: %w", node, err)
	}
	for more := true; more; {
		n := 0
		_, err := t.cfg.Meta.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
			var records []metalog.Record
			records, n, more = succession(img, node, metalog.Tail{Session: dead, Through: through})
			return records, nil
		})
		if err != nil {
			return changed, fmt.Errorf("take over from broker %d: %w", node, err)
		}
		changed += n
	}
	if changed > 0 {
		t.cfg.OnTakeover(changed)
		t.cfg.Logger.Warn("took over from a dead broker", "node", node.String(), "session", dead.String(), "partitions", changed, "fenced_after_slot", through)
	}
	return changed, nil
}

// succession returns the records that fence a dead broker and give its partitions to others, as many as
// one slot takes, and whether there are more.
func succession(img *metalog.Image, node id.Broker, tail metalog.Tail) (records []metalog.Record, changed int, more bool) {
	was, ok := img.Broker(node)
	if !ok || was.Incarnation != tail.Session {
		return nil, 0, false
	}
	if !was.Fenced {
		records = append(records, metalog.BrokerFenced{ID: node, Session: tail.Session})
	}
	changes := heirs(img, node)
	if more = len(changes) > MaxChanges; more {
		changes = changes[:MaxChanges]
	}
	if len(changes) > 0 {
		records = append(records, metalog.LeadersChanged{Changes: changes, Tail: &tail})
	}
	return records, len(changes), more
}
