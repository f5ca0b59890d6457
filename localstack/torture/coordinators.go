package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// coordinators kills whoever coordinates a group or a transactional id of the load, again and
// again, while members of a group come and go: its groups and transactions must go on at
// another broker, or at the same one when that is back sooner.
func coordinators(ctx context.Context, e *env) error {
	guests := &guests{env: e}
	defer guests.leave()
	return e.rounds(ctx, 500*time.Millisecond, 1500*time.Millisecond, func(round int) error {
		if err := guests.churn(ctx); err != nil || round%2 == 0 {
			return err
		}
		b, err := e.coordinator(ctx)
		if err != nil {
			return err
		}
		if err := e.processes().Brokers()[b].Kill(); err != nil {
			return err
		}
		e.rec.struck("coordinator killed", 1)
		if e.rng.IntN(3) > 0 { // mostly others take over
			if err := e.pause(ctx, e.between(3*time.Second, 5*time.Second)); err != nil {
				return err
			}
		}
		return e.processes().Brokers()[b].Start(ctx)
	})
}

// coordinator returns which broker, from 0, coordinates a group or a transactional id chosen at random.
func (e *env) coordinator(ctx context.Context) (broker int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	of := e.rng.IntN(3)
	for {
		err = e.load.admin(func(a *kadm.Client) error {
			var found kadm.FindCoordinatorResponses
			switch of {
			case 0:
				found = a.FindGroupCoordinators(ctx, churned)
			case 1:
				found = a.FindGroupCoordinators(ctx, copyGroup)
			default:
				found = a.FindTxnCoordinators(ctx, "txn-1")
			}
			if err := found.Error(); err != nil {
				return err
			}
			for _, f := range found {
				broker = int(f.NodeID) - 1
			}
			return nil
		})
		if err == nil && broker >= 0 && broker < len(e.processes().Brokers()) {
			return broker, nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return 0, fmt.Errorf("find a coordinator to kill: %w", errors.Join(err, ctx.Err()))
		}
	}
}
