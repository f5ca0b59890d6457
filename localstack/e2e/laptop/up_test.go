//go:build e2e

package laptop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// laptop is a running localstack/up.
type laptop struct {
	*rig.Process
	bootstrap []string
	pids      []int // of the brokers
}

// buildUp builds what localstack/up builds and returns its command.
func buildUp(t *testing.T) []string {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), "go", "build", "-o", shared+"/up", "../../cmd/up").CombinedOutput()
	require.NoError(t, err, "%s", said)
	api := shared + "/api/bootstrap"
	if _, err := os.Stat(api); err != nil {
		api, err = rig.BuildFunction(t.Context(), "api", shared)
		require.NoError(t, err)
	}
	return []string{shared + "/up", "-forebay", buildImage(t), "-api", api, "-free-ports"}
}

func startUp(t *testing.T, line ...string) *laptop {
	t.Helper()
	cmd := exec.Command(line[0], line[1:]...) // it ends by SIGTERM, not with the context
	p, err := rig.StartProcess("up", cmd)
	require.NoError(t, err)
	l := &laptop{Process: p}
	t.Cleanup(func() {
		if _, err := p.Stop(step); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("output of up:\n%s", p.Output())
		}
	})
	l.awaitOutput(t, `Ctrl-C ends all of it`)
	l.bootstrap = strings.Split(l.awaitOutput(t, `Bootstrap servers:\n\n  (\S+)\n`)[1], ",")
	for _, m := range regexp.MustCompile(`broker-\d .* pid (\d+)`).FindAllStringSubmatch(p.Output(), -1) {
		pid, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		l.pids = append(l.pids, pid)
	}
	require.Len(t, l.pids, len(l.bootstrap))
	return l
}

// outputLimit is long enough for the script to build what it runs.
const outputLimit = 3 * time.Minute

// awaitOutput waits for text that matches and returns its groups.
func (l *laptop) awaitOutput(t *testing.T, pattern string) (found []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), outputLimit)
	defer cancel()
	require.NoError(t, l.Await(ctx, func(context.Context) error {
		if found = regexp.MustCompile(pattern).FindStringSubmatch(l.Output()); found == nil {
			return fmt.Errorf("it has not said %q", pattern)
		}
		return nil
	}))
	return found
}

// children are the processes that a process has started and that have not ended.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	for _, name := range lists {
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) { // a thread that has ended
			continue
		}
		require.NoError(t, err)
		for word := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(word)
			require.NoError(t, err)
			pids = append(pids, child)
		}
	}
	return pids
}

// exitCode waits for the end.
func (l *laptop) exitCode(t *testing.T) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), step)
	defer cancel()
	err := l.Wait(ctx)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	require.NoError(t, err)
	return 0
}

func requireGone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "process %d is left", pid)
	}
}

// The README's way: a topic by the function behind its URL, an event in by curl, and out by kcat. The README has the same
// commands, as a test beside localstack/up proves.
func TestUpAsTheREADMESays(t *testing.T) {
	began := time.Now()
	l := startUp(t, filepath.Join(root, "localstack", "up"), "-restart", "-free-ports")
	commands := regexp.MustCompile(`(?m)^  ((?:curl|kcat) (?:.*\\\n)*.*)$`).FindAllStringSubmatch(l.Output(), 3)
	require.Len(t, commands, 3)
	run := func(i int) string { return typed(t, commands[i][1]) }
	created := run(0)
	require.Contains(t, created, `"name":"quakes"`)
	require.Contains(t, created, `"partitions":6`)
	accepted := struct {
		Events []struct{ Partition, Offset int }
	}{}
	said := run(1)
	require.NoError(t, json.Unmarshal([]byte(said), &accepted), said)
	require.Len(t, accepted.Events, 1, said)
	at := accepted.Events[0]
	require.Equal(t, fmt.Sprintf("%d:%d {\"mag\": 3.1}\n", at.Partition, at.Offset), run(2))
	t.Logf("from the start to the record that was read: %s", time.Since(began).Round(100*time.Millisecond))

	unsigned := regexp.MustCompile(`--aws-sigv4 \S+ --user \S+`).ReplaceAllString(commands[0][1], "")
	refused, err := exec.CommandContext(t.Context(), "sh", "-c", unsigned).Output()
	require.NoError(t, err)
	require.Contains(t, string(refused), "Forbidden", "who has not signed")
}

// Ctrl-C ends everything in order, and the next run on the directory finds what was there.
func TestUpEndsCleanly(t *testing.T) {
	line := append(buildUp(t), "-dir", filepath.Join(t.TempDir(), "data"))
	for run := range 2 {
		l := startUp(t, line...)
		if run == 0 {
			requireServes(t, l.bootstrap...)
		}
		started := children(t, l.PID())
		require.Len(t, started, 6, "MinIO, DynamoDB, three brokers and the function")
		require.NoError(t, syscall.Kill(l.PID(), []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}[run]))
		require.Zero(t, l.exitCode(t), l.Output())
		requireGone(t, started)
		require.NotContains(t, l.Output(), "killed")
	}
	l := startUp(t, line...)
	requireHolds(t, l.bootstrap, "events", 100)
}

// When one of the processes dies the rest is ended, and it says which it was.
func TestUpEndsWhenOneDies(t *testing.T) {
	l := startUp(t, append(buildUp(t), "-brokers", "2")...)
	started := children(t, l.PID())
	require.NoError(t, syscall.Kill(l.pids[1], syscall.SIGKILL))
	require.Equal(t, 1, l.exitCode(t), l.Output())
	require.Contains(t, l.Output(), "broker-2 has ended: signal: killed; the end of its log:")
	require.Contains(t, l.Output(), "Forebay broker 2 is ready")
	requireGone(t, started)
}

// With -restart a broker that was killed comes back, without its directory too.
func TestUpRestarts(t *testing.T) {
	l := startUp(t, append(buildUp(t), "-brokers", "2", "-restart")...)
	requireServes(t, l.bootstrap...)
	paste := l.awaitOutput(t, `(kill -9 .*?) +#`)[1]
	require.NoError(t, exec.CommandContext(t.Context(), "sh", "-c", paste).Run())
	l.awaitOutput(t, `broker-1 is ready again`)
	requireHolds(t, l.bootstrap, "events", 100)
	require.NoError(t, syscall.Kill(l.PID(), syscall.SIGTERM))
	require.Zero(t, l.exitCode(t), l.Output())
}

func TestUpRefuses(t *testing.T) {
	line := buildUp(t)
	for _, c := range []struct {
		args []string
		code int
		word string
	}{
		{[]string{"-brokers", "0"}, 2, "want 1 to 100"},
		{[]string{"-no-such"}, 2, "-no-such"},
		{[]string{"-minio", "/nonexistent"}, 1, "/nonexistent"},
		{[]string{"-dynalite", t.TempDir()}, 1, "tools/install node"},
	} {
		var exit *exec.ExitError
		said, err := exec.CommandContext(t.Context(), line[0], append(line[1:], c.args...)...).CombinedOutput()
		require.ErrorAs(t, err, &exit, "%s", said)
		require.Equal(t, c.code, exit.ExitCode(), "%s", said)
		require.Contains(t, string(said), c.word)
	}
}
