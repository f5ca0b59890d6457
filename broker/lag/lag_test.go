package lag

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
)

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func after(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }

func TestBehind(t *testing.T) {
	var h History
	require.Zero(t, h.Behind(after(0), 5), "nothing is known")
	h.Add(after(0), 100)
	require.Zero(t, h.Behind(after(10), 100), "all is read")
	require.Equal(t, 10*time.Second, h.Behind(after(10), 40), "at least as long as the history")
	h.Add(after(10), 200)
	require.Equal(t, 10*time.Second, h.Behind(after(15), 150), "half way between the looks, at 5 s")
	require.Equal(t, 15*time.Second, h.Behind(after(15), 100))
	require.Zero(t, h.Behind(after(15), 200))
	require.Zero(t, h.Behind(after(15), 300), "a commit beyond what is known of the end")
}

// While nothing is appended, what comes then is not taken for old.
func TestIdlePartition(t *testing.T) {
	var h History
	for s := range 1000 {
		h.Add(after(s), 100)
	}
	h.Add(after(1000), 110)
	require.Less(t, h.Behind(after(1000), 100), 2*time.Second)
}

func TestEndThatGoesBack(t *testing.T) {
	var h History
	h.Add(after(0), 100)
	h.Add(after(10), 50)
	require.Equal(t, 5*time.Second, h.Behind(after(15), 0))
	require.Zero(t, h.Behind(after(15), 50))
}

// For a steady producer and any number of looks the answer is right to within the gap between two
// looks that are kept, and the history is bounded.
func TestSteadyProducer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h History
		looks := rapid.IntRange(2, 2000).Draw(t, "looks")
		for s := range looks {
			h.Add(after(s), id.Offset(10*s))
		}
		if len(h.points) > maxPoints {
			t.Fatalf("%d points", len(h.points))
		}
		now := looks - 1
		behind := rapid.IntRange(1, now).Draw(t, "behind")
		got := h.Behind(after(now), id.Offset(10*(now-behind)))
		if diff := got - time.Duration(behind)*time.Second; diff.Abs() > time.Millisecond {
			t.Fatalf("%v, want %d s", got, behind)
		}
	})
}
