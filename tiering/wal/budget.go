package wal

import (
	"math"
	"time"
)

// budget is a bucket of tokens that fills at a rate, up to what a second brings.
type budget struct {
	rate   float64 // tokens per second; negative: no bound
	tokens float64
	last   time.Time
}

// wait returns how long it takes until there is a token, 0 if there is one.
func (b *budget) wait(now time.Time) time.Duration {
	if b.rate < 0 {
		return 0
	}
	b.fill(now)
	if b.tokens >= 1 {
		return 0
	}
	return time.Duration(math.Ceil((1 - b.tokens) / b.rate * float64(time.Second)))
}

// take takes a token, if there is one: a chunk that is full leaves without.
func (b *budget) take(now time.Time) {
	b.fill(now)
	b.tokens = max(b.tokens-1, 0)
}

func (b *budget) fill(now time.Time) {
	if d := now.Sub(b.last); d > 0 {
		b.tokens = min(b.tokens+d.Seconds()*b.rate, max(b.rate, 1))
		b.last = now
	}
}
