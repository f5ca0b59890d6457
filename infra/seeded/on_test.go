//go:build seededbugs

package seeded_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/seeded"
)

func TestOneBugIsPlanted(t *testing.T) {
	for _, planted := range seeded.Bugs() {
		require.NoError(t, seeded.Plant(planted))
		for _, bug := range seeded.Bugs() {
			require.Equal(t, bug == planted, seeded.Enabled(bug))
		}
	}
	require.Error(t, seeded.Plant("no-such-bug"))
	require.NoError(t, seeded.Plant(""))
	for _, bug := range seeded.Bugs() {
		require.False(t, seeded.Enabled(bug))
	}
}
