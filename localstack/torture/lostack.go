package main

import (
	"context"
	"time"
)

// lostAck lets producers lose a twentieth of the replies that reach them, with the
// connection: what they send again was appended already.
func lostAck(ctx context.Context, e *env) error {
	e.load.losing.Store(50)
	defer e.load.losing.Store(0)
	err := e.rounds(ctx, time.Second, time.Second, func(int) error { return nil })
	e.rec.struck("reply lost by a client", e.load.lost.Load())
	return err
}
