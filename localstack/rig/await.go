package rig

import (
	"context"
	"fmt"
	"time"
)

// Await tries f again and again until it returns nil. It gives up when ctx ends, and then says what the last
// try said.
func Await(ctx context.Context, f func(context.Context) error) error {
	return await(ctx, 20*time.Millisecond, f)
}

// await is Await with a pause between the tries.
func await(ctx context.Context, pause time.Duration, f func(context.Context) error) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
		}
	}
}
