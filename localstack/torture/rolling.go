package main

import (
	"context"
	"time"
)

// stopLimit is how long a broker may take to end after SIGTERM.
const stopLimit = 15 * time.Second

// rolling restarts the brokers in turn, again and again. No client may see an error.
func rolling(ctx context.Context, e *env) error {
	brokers := e.processes().Brokers()
	err := e.rounds(ctx, 500*time.Millisecond, time.Second, func(round int) error {
		b := brokers[round%len(brokers)]
		if _, err := b.Stop(stopLimit); err != nil {
			return err
		}
		e.rec.struck("restart", 1)
		return b.Start(ctx)
	})
	e.rec.mu.Lock()
	defer e.rec.mu.Unlock()
	for _, text := range e.rec.clients {
		e.found(clientSawError, "%s", text)
	}
	return err
}
