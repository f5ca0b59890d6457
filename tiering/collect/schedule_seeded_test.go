//go:build seededbugs

package collect_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/seeded"
)

// TestSchedulesFindTheSeededBug: without the second look the schedules see what is named go.
func TestSchedulesFindTheSeededBug(t *testing.T) {
	require.NoError(t, seeded.Plant(seeded.CollectorGrace))
	defer func() { require.NoError(t, seeded.Plant("")) }()
	for seed := uint64(1); seed <= 100; seed++ {
		if _, err := runSchedule(t, seed); err != nil {
			t.Logf("schedule %d: %v", seed, err)
			return
		}
	}
	t.Fatal("100 schedules have not found it")
}
