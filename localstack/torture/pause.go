package main

import (
	"context"
	"time"
)

// lease is how long a session lasts after its last renewal.
const lease = 3 * time.Second

// pause stops a random broker for three leases and wakes it under load: others have taken
// over by then, and it must not commit what it had in hand.
func pause(ctx context.Context, e *env) error {
	brokers := e.processes().Brokers()
	return e.rounds(ctx, time.Second, 2*time.Second, func(int) error {
		b := brokers[e.rng.IntN(len(brokers))]
		if err := b.Pause(); err != nil {
			return err
		}
		e.rec.struck("SIGSTOP for 9s", 1)
		if err := e.pause(ctx, 3*lease); err != nil {
			return err
		}
		return b.Resume()
	})
}
