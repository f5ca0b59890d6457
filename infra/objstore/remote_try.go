package objstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/forebaylog/forebay/infra/pause"
)

// maxPause bounds the pause between two attempts.
const maxPause = 5 * time.Second

// try calls f until it succeeds, fails for good, has had all its attempts, or ctx
// ends. size is how many bytes f moves: they add to the time that an attempt has.
func (s *remote) try(ctx context.Context, size int64, f func(context.Context) error) error {
	for n := 1; ; n++ {
		err := s.attempt(ctx, size, f)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ended(ctx, err)
		case !retryable(err):
			return explain(err, s.place)
		case n >= s.cfg.Attempts:
			return fmt.Errorf("%d attempts: %w", n, explain(err, s.place))
		}
		if pause.For(ctx, s.backoff(n)) != nil {
			return ended(ctx, err)
		}
	}
}

// attempt limits the time of one call of f.
func (s *remote) attempt(ctx context.Context, size int64, f func(context.Context) error) error {
	limit := s.cfg.Timeout + time.Duration(float64(size)/float64(s.cfg.MinRate)*float64(time.Second))
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := f(limited)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		// Without %w: a caller that sees a deadline would take it for its own.
		return fmt.Errorf("no answer within %s: %v", limit.Round(time.Millisecond), err) //nolint:errorlint // see above
	}
	return err
}

// backoff is the pause behind attempt n.
func (s *remote) backoff(n int) time.Duration {
	longest := min(s.cfg.Backoff<<min(n-1, 10), maxPause)
	return longest/2 + rand.N(longest/2+1)
}
