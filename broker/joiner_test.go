package broker

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
)

// TestJoinerGivesUp: what waits while a request is under way and is given up is not asked: a
// coordinator that was replaced would send its markers late.
func TestJoinerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, asked := make(chan struct{}), []string{}
		j := newJoiner(func(_ context.Context, _ id.Broker, questions []string) ([]string, error) {
			<-hold
			asked = append(asked, questions...)
			return questions, nil
		})
		defer j.close()
		send := func(ctx context.Context, q string) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := j.send(ctx, 1, q)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		first := send(t.Context(), "first")
		ctx, cancel := context.WithCancel(t.Context())
		second := send(ctx, "second")
		third := send(t.Context(), "third")
		cancel()
		require.ErrorIs(t, <-second, context.Canceled)
		close(hold)
		require.NoError(t, <-first)
		require.NoError(t, <-third)
		require.Equal(t, []string{"first", "third"}, asked)
	})
}
