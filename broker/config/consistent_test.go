package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConsistent(t *testing.T) {
	const least, most = "min.compaction.lag.ms", "max.compaction.lag.ms"
	for _, ok := range []map[string]string{nil, {least: "5"}, {most: "5"}, {least: "5", most: "5"}} {
		require.NoError(t, Consistent(ok), ok)
	}
	require.ErrorIs(t, Consistent(map[string]string{least: "6", most: "5"}), ErrInvalid)
}
