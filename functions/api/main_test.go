package main

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/functions/internal/function"
)

func TestOpenRefuses(t *testing.T) {
	for name, value := range map[string]string{
		"FOREBAY_SESSION_TTL": "soon", "FOREBAY_NUM_PARTITIONS": "0", "FOREBAY_DEFAULT_REPLICATION_FACTOR": "70000", "FOREBAY_METADATA": "bolt:///x",
	} {
		env := map[string]string{name: value, "FOREBAY_OBJECT_STORE": "mem://"}
		_, err := open(t.Context(), function.NewEnv(func(name string) string { return env[name] }), slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, name)
	}
}
