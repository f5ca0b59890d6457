//go:build e2e

package laptop

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// step is how long one step of a scenario may take; it tells what hangs from what waits for the processor.
const step = 2 * time.Minute

// startServices starts MinIO with the credentials of its service in the compose file, and a DynamoDB.
func startServices(t *testing.T, env map[string]string) (*rig.MinIO, *rig.Dynalite) {
	t.Helper()
	minio, err := rig.MinIOConfig{
		Binary: os.Getenv("FOREBAY_MINIO"), Dir: t.TempDir(), Region: env["MINIO_SITE_REGION"],
		AccessKey: env["MINIO_ROOT_USER"], SecretKey: env["MINIO_ROOT_PASSWORD"],
	}.Start(t.Context())
	require.NoError(t, err)
	endWith(t, minio.Process)
	table, err := rig.DynaliteConfig{Programs: os.Getenv("FOREBAY_NODE")}.Start(t.Context())
	require.NoError(t, err)
	endWith(t, table.Process)
	return minio, table
}

// startBroker runs the binary with nothing in its environment but env.
func startBroker(t *testing.T, binary, name string, args, env []string) *rig.Process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = slices.Concat(rig.DynaliteEnv, env) // the latter wins; nothing of this machine's configuration
	p, err := rig.StartProcess(name, cmd)
	require.NoError(t, err)
	endWith(t, p)
	return p
}

// endWith kills a process at the end of the test, and shows its output if the test failed.
func endWith(t *testing.T, p *rig.Process) {
	t.Helper()
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", p.Name(), p.Output())
		}
	})
}
