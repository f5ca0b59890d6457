package seal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/vfs"
)

// TestPause: nothing is sealed or lost while it is paused, sealed segments go all the same, and
// everything is made up for afterwards.
func TestPause(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem())
	w.fill(5, 200)
	require.NoError(t, w.sealer.SealAll(ctx))
	sealed := w.sealer.Stats()
	require.Zero(t, sealed.Oldest)

	w.sealer.Pause(true)
	w.sealer.SetDiskBudget(1)
	w.fill(5, 200)
	w.fillWAL(2, 10)
	for range 2 {
		require.NoError(t, w.sealer.SealAll(ctx))
		_, err := w.sealer.Adopt(ctx, w.adoptions())
		require.ErrorIs(t, err, ErrPaused)
	}
	stats := w.sealer.Stats()
	require.Equal(t, sealed.Packs, stats.Packs)
	require.NoError(t, stats.LastError)
	require.Positive(t, stats.LagBytes)
	require.Equal(t, w.journal.Segments()[0].Created, stats.Oldest, "what was sealed before is dropped")
	require.Positive(t, stats.Dropped)

	w.sealer.Pause(false)
	require.NoError(t, w.sealer.SealAll(ctx))
	require.Zero(t, w.sealer.Stats().LagBytes)
	require.Empty(t, w.journal.Segments())
}

// TestPauseWakesRun: what was rolled while sealing was paused is sealed as soon as it is not.
func TestPauseWakesRun(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) { c.Interval = time.Hour })
	w.sealer.Pause(true)
	ended := make(chan error, 1)
	go func() { ended <- w.sealer.Run(ctx) }()
	w.fill(3, 100)
	require.NoError(t, w.journal.Roll())
	require.Eventually(t, func() bool { return w.sealer.Stats().LagBytes > 0 }, 10*time.Second, time.Millisecond)
	require.Zero(t, w.sealer.Stats().Packs)
	w.sealer.Pause(false)
	require.Eventually(t, func() bool { return w.sealer.Stats().LagBytes == 0 }, 10*time.Second, time.Millisecond)
	require.Positive(t, w.sealer.Stats().Packs)
	require.NoError(t, w.sealer.Close(ctx))
	require.NoError(t, <-ended)
	w.check()
}
