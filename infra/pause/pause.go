// Package pause waits between attempts.
package pause

import (
	"context"
	"time"
)

// For waits for d. It fails with ctx.Err when ctx has ended by then, at once when it ends.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}
