package main

import (
	"context"
	"fmt"
	"time"
)

// powerLoss cuts the power of the machine again and again, in the middle of producing.
func powerLoss(ctx context.Context, e *env) error {
	m, ok := e.target.(*machine)
	if !ok {
		return fmt.Errorf("cut the power: the target is no machine")
	}
	return e.rounds(ctx, 300*time.Millisecond, 1500*time.Millisecond, func(int) error {
		e.rec.struck("power cut", 1)
		return m.cutPower(ctx)
	})
}
