package main

import (
	"context"
	"time"
)

// kill9 kills a random broker, again and again, in the middle of producing.
func kill9(ctx context.Context, e *env) error {
	brokers := e.processes().Brokers()
	return e.rounds(ctx, 500*time.Millisecond, 2500*time.Millisecond, func(int) error {
		b := brokers[e.rng.IntN(len(brokers))]
		if err := b.Kill(); err != nil {
			return err
		}
		e.rec.struck("kill -9", 1)
		if len(brokers) > 1 && e.rng.IntN(2) == 0 { // sometimes others take over, sometimes it is back before
			if err := e.pause(ctx, e.between(3*time.Second, 5*time.Second)); err != nil {
				return err
			}
		}
		return b.Start(ctx)
	})
}
