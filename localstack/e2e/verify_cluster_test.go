//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// Of a cluster whose brokers are off all is proved from its bucket and its tables: what was
// sealed, and what only the stream of a broker has that was killed.
func TestVerifyProvesACluster(t *testing.T) {
	if !againstCluster() {
		t.Skip("it is about the stores of a cluster")
	}
	dir := t.TempDir()
	store := rig.MinIOConfig{Binary: os.Getenv("FOREBAY_MINIO"), AccessKey: "verifyverify", SecretKey: "secretsecret"}
	c, err := rig.StartCluster(t.Context(), rig.ClusterConfig{
		Dir: dir, Brokers: brokersOfCluster, Direct: true, Store: store.Backend,
		Table:  rig.DynaliteConfig{Programs: os.Getenv("FOREBAY_NODE")}.Backend,
		Launch: rig.LaunchBrokers(rig.ForebayConfig{Binary: forebay, Env: tinySegments}, rig.MinIOBucket, "e2e"),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{Addr: strings.Join(c.Addrs(), ","), cluster: c}
	at := c.Brokers()[0].Place
	verify := func(flags ...string) (report struct {
		Damage   int   `json:"damage"`
		Records  int64 `json:"records"`
		Unsealed int64 `json:"unsealed_records"`
		Findings []struct{ Check, Object string }
	}, output string, code int,
	) {
		cmd := exec.CommandContext(t.Context(), forebay, append([]string{
			"verify", "-o", "json", "--object-store", "minio://" + at.Store + "/" + rig.MinIOBucket + "/e2e",
			"--metadata", "dynamodb://e2e?region=us-east-1&endpoint=http://" + at.Table,
		}, flags...)...)
		cmd.Env = slices.Concat(os.Environ(), rig.DynaliteEnv, (&rig.MinIO{AccessKey: store.AccessKey, SecretKey: store.SecretKey}).Env())
		out, err := cmd.Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code, output = exit.ExitCode(), string(exit.Stderr)
		} else {
			require.NoError(t, err)
		}
		if len(out) > 0 {
			require.NoError(t, json.Unmarshal(out, &report), "%s", out)
		}
		return report, output + string(out), code
	}

	topic := newTopic(t, s.Addr, 6)
	produce(t, franz{}, s.Addr, topic, "none", quakes(t))
	awaitSealed(t, s)
	pack := anObject(t, filepath.Join(dir, "store")) // while there is none that no chain names, as of a seal that was killed
	_, output, code := verify()
	require.Equal(t, 1, code, output)
	require.Contains(t, output, "is alive")

	produce(t, franz{}, s.Addr, topic, "none", quakes(t))
	require.NoError(t, c.KillAll())
	notes := filepath.Join(dir, "notes")
	report, output, code := verify("--state", notes)
	require.Zero(t, code, output)
	require.Equal(t, int64(2*len(quakes(t))), report.Records+report.Unsealed)
	again, output, code := verify("--state", notes)
	require.Zero(t, code, output)
	require.Equal(t, report, again)

	require.NoError(t, os.RemoveAll(pack)) // MinIO has a directory for each object
	report, output, code = verify("--state", notes)
	require.Equal(t, exitDamaged, code, output)
	require.Equal(t, filepath.Base(pack), filepath.Base(report.Findings[0].Object))
}

// anObject finds where MinIO has a pack.
func anObject(t *testing.T, dir string) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasSuffix(name, ".pack") && strings.Contains(name, "/packs/") {
			found = name
			return fs.SkipAll
		}
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, found)
	return found
}
