package stores

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
)

func TestObjects(t *testing.T) {
	s, err := Objects(t.Context(), "file://"+filepath.Join(t.TempDir(), "objects"), nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = Objects(t.Context(), "ftp://x", nil)
	require.Error(t, err)
}

func TestTables(t *testing.T) {
	_, _, err := Tables(t.Context(), "bolt:///x", slog.New(slog.DiscardHandler), nil)
	require.Error(t, err, "of one process only")
	require.NoError(t, Probe(t.Context(), kv.NewMem(), kv.NewMem()))
	broken := kv.Inject(kv.NewMem(), func(kv.Op) kv.Fault { return kv.FaultFail })
	require.True(t, errors.Is(Probe(t.Context(), kv.NewMem(), broken), kv.ErrInjected))
}
