package wal_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/tiering/wal"
)

// rate gives a stream a budget.
func rate(perSecond float64) func(*wal.StreamConfig, *wal.Config) {
	return func(c *wal.StreamConfig, _ *wal.Config) { c.Rate = perSecond }
}

// TestTokensToSpare: as many chunks as the budget of a second leave at once, and the next
// when there is a token.
func TestTokensToSpare(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		began := time.Now()
		for range 4 {
			require.NoError(t, r.chunk(0).await())
			require.Equal(t, began, time.Now(), "at once")
		}
		for i := range 3 {
			require.NoError(t, r.chunk(0).await())
			require.WithinDuration(t, began.Add(time.Duration(i+1)*time.Second/4), time.Now(), time.Millisecond)
		}
		time.Sleep(time.Hour)
		began = time.Now()
		for range 4 {
			require.NoError(t, r.chunk(0).await())
		}
		require.Equal(t, began, time.Now(), "an hour saves no more than a second's")
		require.NoError(t, r.chunk(0).await())
		require.NotEqual(t, began, time.Now())
	}, rate(4))
}

// TestChunksGrowUnderLoad: what comes while there is no token leaves together, and the number
// of objects is that of the budget, however many batches there are.
func TestChunksGrowUnderLoad(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		began := time.Now()
		var last *appended
		for time.Since(began) < 10*time.Second {
			last = r.chunk(0)
			time.Sleep(time.Millisecond)
		}
		require.NoError(t, last.await())
		st := r.stream.Stats()
		require.InDelta(t, 10*4+4, st.Objects, 2)
		r.complete(r.fence(), nil)
	}, rate(4))
}

// TestFullChunksNeedNoToken: they leave as soon as they are full.
func TestFullChunksNeedNoToken(t *testing.T) {
	size := int64(len(newBatch(0)))
	inBubble(t, func(t *testing.T, r *streamRig) {
		require.NoError(t, r.chunk(0).await())
		began := time.Now()
		var all []*appended
		for range 3 * 5 {
			all = append(all, r.chunk(0))
		}
		for _, a := range all {
			require.NoError(t, a.await())
		}
		require.Equal(t, began, time.Now())
		require.EqualValues(t, 1+3, r.stream.Stats().Objects)

		a := r.chunk(0)
		synctest.Wait()
		require.False(t, a.answered(), "one that is not full waits")
		require.NoError(t, a.await())
		require.WithinDuration(t, began.Add(10*time.Second), time.Now(), time.Millisecond)
	}, rate(0.1), func(c *wal.StreamConfig, _ *wal.Config) { c.MaxChunk = 5 * size })
}

// TestCloseWaitsForNoToken: the end of a group does not take as long as its budget says.
func TestCloseWaitsForNoToken(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		require.NoError(t, r.chunk(0).await())
		a, began := r.chunk(0), time.Now()
		require.NoError(t, r.group.Close(context.Background()))
		require.NoError(t, a.await())
		require.Equal(t, began, time.Now())
	}, rate(0.001))
}
