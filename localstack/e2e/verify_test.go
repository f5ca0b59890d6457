//go:build e2e

package e2e

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// exitDamaged is the exit code of forebay verify when it finds damage.
const exitDamaged = 4

// verify runs forebay verify on the directory of a stopped broker.
func verify(t *testing.T, dir string) (output string, code int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), forebay, "verify", "--dir", dir).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	require.NoError(t, err)
	return string(out), 0
}

// stopAndVerify ends the broker and has its directory proved whole.
func stopAndVerify(t *testing.T, node *rig.Node) {
	t.Helper()
	if againstKafka() {
		return
	}
	stop(t, node)
	output, code := verify(t, node.Dir)
	require.Zero(t, code, output)
}

// stop ends a broker with SIGTERM, which must be quick.
func stop(t *testing.T, node *rig.Node) {
	t.Helper()
	_, err := node.Stop(stopLimit)
	require.NoError(t, err)
}

// A bit that flips in a hot segment or in a pack is found, and the file that it is in named.
func TestFlippedBitIsNamed(t *testing.T) {
	if againstKafka() {
		t.Skip("forebay verify reads Forebay's files")
	}
	for _, tier := range []struct {
		name, suffix string
		env          []string
	}{{"hot", ".hot", nil}, {"packs", ".pack", tinySegments}} {
		t.Run(tier.name, func(t *testing.T) {
			node := ownBroker(t, t.TempDir(), tier.env...)
			topic := newTopic(t, node.Addr, 6)
			produce(t, franz{}, node.Addr, topic, "none", quakes(t))
			if tier.env != nil {
				awaitSealed(t, &site{node: node})
			}
			stopAndVerify(t, node)
			name := largest(t, node.Dir, tier.suffix)
			content, err := os.ReadFile(name)
			require.NoError(t, err)
			content[len(content)/2] ^= 1 << 3
			require.NoError(t, os.WriteFile(name, content, 0o600))
			output, code := verify(t, node.Dir)
			require.Equal(t, exitDamaged, code, output)
			require.Contains(t, output, strings.TrimSuffix(filepath.Base(name), tier.suffix))
		})
	}
}

// largest is the largest file below dir whose name ends in suffix.
func largest(t *testing.T, dir, suffix string) string {
	t.Helper()
	var name string
	var size int64
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, suffix) {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > size {
			name, size = path, info.Size()
		}
		return err
	}))
	require.NotEmpty(t, name)
	return name
}
