package chain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/tiering/chain"
)

func TestNewObjectName(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", -7*3600))
	a, b := chain.NewObjectName(7, now), chain.NewObjectName(7, now)
	require.NotEqual(t, a, b)
	require.True(t, strings.HasPrefix(a, "packs/2026/01/02/7-1767348245000-"), a)
}
