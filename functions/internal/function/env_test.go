package function

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// env is an Env of pairs of names and values.
func env(pairs ...string) *Env {
	values := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return NewEnv(func(name string) string { return values[name] })
}

func TestEnv(t *testing.T) {
	e := env("TEXT", "a b", "TTL", "90s", "COUNT", "32767", "ALONE", "true")
	require.Equal(t, "a b", e.Text("TEXT"))
	require.Equal(t, 90*time.Second, e.Duration("TTL"))
	require.Equal(t, int64(32767), e.Positive("COUNT", 16))
	require.True(t, e.Bool("ALONE"))
	require.Empty(t, e.Text("NONE"))
	require.Zero(t, e.Duration("NONE"))
	require.Zero(t, e.Positive("NONE", 64))
	require.False(t, e.Bool("NONE"))
	require.NoError(t, e.Err())
}

// TestEnvRefuses: whoever has made several mistakes is told all of them.
func TestEnvRefuses(t *testing.T) {
	e := env("TTL", "soon", "GRACE", "-1h", "COUNT", "32768", "ZERO", "0", "ALONE", "perhaps")
	require.Zero(t, e.Duration("TTL"))
	require.Zero(t, e.Duration("GRACE"))
	require.Zero(t, e.Positive("COUNT", 16))
	require.Zero(t, e.Positive("ZERO", 64))
	require.False(t, e.Bool("ALONE"))
	for _, want := range []string{`TTL "soon"`, `GRACE "-1h"`, `COUNT "32768"`, `ZERO "0"`, `ALONE "perhaps"`} {
		require.ErrorContains(t, e.Err(), "read "+want)
	}
}
