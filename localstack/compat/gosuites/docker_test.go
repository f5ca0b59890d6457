package gosuites

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

func TestDockerStopsAndStartsNothingElse(t *testing.T) {
	d, err := startDocker(t.Context(), t.TempDir(), &rig.Cluster{})
	require.NoError(t, err)
	run := func(args ...string) (string, error) {
		said, err := exec.CommandContext(context.Background(), filepath.Join(d.Dir, "docker"), args...).CombinedOutput()
		return string(said), err
	}
	for _, args := range [][]string{{"ps"}, {"compose", "stop", "kafka-1"}, {"compose", "exec", "-T", "kafka-1", "sh"}} {
		said, err := run(args...)
		require.Error(t, err, args)
		require.Contains(t, said, "it is not docker")
	}
	require.NoError(t, d.Close())
	_, err = run("ps")
	require.Error(t, err, "nobody serves it any more")
}
