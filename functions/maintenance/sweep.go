package maintenance

import (
	"context"
	"time"

	"github.com/forebaylog/forebay/broker/takeover"
	"github.com/forebaylog/forebay/functions/internal/emf"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
)

// Sweep ends the sessions of dead brokers, fences their streams, gives what they have led to live brokers if
// those have not done so themselves, and releases the streams of sessions that are over. With no
// broker alive the leaders stay named, for whoever comes back.
var Sweep = Task{name: "sweep", result: func(ctx context.Context, w *work) (any, error) { return w.sweep(ctx) }}

// Swept is what a sweep has done.
type Swept struct {
	Alive      int `json:"alive"`      // brokers whose session is renewed
	Dead       int `json:"dead"`       // brokers that this sweep has fenced or relieved of partitions
	Partitions int `json:"partitions"` // that got another leader
	Released   int `json:"released"`   // streams of which nothing is left
	Unreleased int `json:"unreleased"` // streams of sessions that are over, with records that are not sealed
}

func (s Swept) metrics() []emf.Metric {
	return []emf.Metric{
		{Name: "BrokersAlive", Unit: emf.Count, Value: float64(s.Alive)},
		{Name: "BrokersDead", Unit: emf.Count, Value: float64(s.Dead)},
		{Name: "PartitionsTakenOver", Unit: emf.Count, Value: float64(s.Partitions)},
		{Name: "StreamsUnreleased", Unit: emf.Count, Value: float64(s.Unreleased)},
	}
}

// sweep watches the sessions for a little more than the TTL, since only who has seen a session not renewed for as
// long may end it, and then cleans up.
func (w *work) sweep(ctx context.Context) (any, error) {
	var done Swept
	watcher := session.NewWatcher(w.cfg.Metadata, w.cfg.SessionTTL)
	after := takeover.New(takeover.Config{Table: w.cfg.Metadata, Meta: w.meta, Self: metalog.NoBroker, Logger: w.cfg.Logger})
	pause := w.cfg.SessionTTL / 6
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for watched := time.Duration(0); watched <= w.cfg.SessionTTL+pause; watched += pause {
		if err := w.meta.Refresh(ctx); err != nil {
			return done, err
		}
		seen, err := after.Observe(ctx, watcher)
		done.Alive = seen.Alive
		done.Dead += seen.Dead
		done.Partitions += seen.Partitions
		if err != nil {
			return done, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return done, context.Cause(ctx)
		}
	}
	sweeper := takeover.Sweeper{Table: w.cfg.Metadata, Chains: w.chains, Meta: w.meta, Objects: w.all, Footer: w.cold.Footer, Self: metalog.NoBroker}
	var err error
	done.Released, err = sweeper.Sweep(ctx)
	done.Unreleased = len(takeover.Over(w.meta.Image()))
	return done, err
}
