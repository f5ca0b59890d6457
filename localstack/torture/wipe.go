package main

import (
	"context"
	"time"
)

// wipe kills random brokers and deletes their disks; now and then it is all of them at once.
func wipe(ctx context.Context, e *env) error {
	p := e.processes()
	brokers := p.Brokers()
	return e.rounds(ctx, time.Second, 3*time.Second, func(round int) error {
		some := brokers
		if round%3 != 1 { // a busy machine may come to two rounds only
			i := e.rng.IntN(len(brokers))
			some = brokers[i : i+1]
		}
		for _, b := range some {
			if err := b.Kill(); err != nil {
				return err
			}
		}
		for _, b := range some {
			if err := b.Wipe(); err != nil {
				return err
			}
			e.rec.struck("disk deleted", 1)
		}
		return p.StartAll(ctx)
	})
}
