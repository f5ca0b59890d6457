//go:build !seededbugs

package seeded_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/seeded"
)

func TestNoBugIsPlantedInThisBuild(t *testing.T) {
	for _, bug := range append(seeded.Bugs(), "") {
		require.False(t, seeded.Enabled(bug))
	}
}
