package main

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/functions/admin"
)

func TestHandlerRefuses(t *testing.T) {
	for name, value := range map[string]string{
		"FOREBAY_SESSION_TTL": "soon", "FOREBAY_NUM_PARTITIONS": "0", "FOREBAY_DEFAULT_REPLICATION_FACTOR": "70000", "FOREBAY_METADATA": "bolt:///x",
	} {
		env := map[string]string{name: value, "FOREBAY_OBJECT_STORE": "ftp://x"}
		_, err := handler(t.Context(), func(name string) string { return env[name] }, slog.New(slog.DiscardHandler))
		require.Error(t, err, name)
		require.Contains(t, err.Error()+name, name)
	}
}

func TestDefaults(t *testing.T) {
	env := map[string]string{"FOREBAY_NUM_PARTITIONS": "6", "FOREBAY_DEFAULT_REPLICATION_FACTOR": "3"}
	s, err := defaults(func(name string) string { return env[name] })
	require.NoError(t, err)
	require.Equal(t, admin.Settings{Partitions: 6, Replicas: 3}, s)
}
