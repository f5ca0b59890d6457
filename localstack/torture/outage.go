package main

import (
	"context"
	"time"

	"github.com/forebaylog/forebay/localstack/faultproxy"
	"github.com/forebaylog/forebay/localstack/oracle"
)

// noTable takes the table service away for the run's duration. Acknowledgements must have
// stopped when a lease must have ended.
func noTable(ctx context.Context, e *env) error {
	from := e.rec.now()
	err := outage(ctx, e, e.processes().Table, "table request lost")
	until := e.rec.now()
	e.rec.mu.Lock()
	defer e.rec.mu.Unlock()
	for _, s := range e.rec.history.Sends {
		// A second for the reply to arrive on a busy machine, and one for what was under way.
		if late := s.Completed - from - lease; s.Outcome == oracle.OK && late > 2*time.Second && s.Completed < until {
			e.found(ackWithoutLease, "%s was acknowledged %s after the lease had ended", s.Value, late)
			break
		}
	}
	return err
}

// noStore takes the object store away for the run's duration.
func noStore(ctx context.Context, e *env) error {
	return outage(ctx, e, e.processes().Store, "store request lost")
}

// outage loses every request, at first with resets, then in silence.
func outage(ctx context.Context, e *env, p *faultproxy.Proxy, name string) error {
	for _, action := range []faultproxy.Action{faultproxy.LoseRequest(), faultproxy.Silence()} {
		remove := p.Add(faultproxy.Rule{Name: name, Action: action})
		err := e.pause(ctx, e.cfg.duration/2)
		remove()
		if err != nil {
			return err
		}
	}
	return nil
}
