package suite

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// gone waits until a process is no more, or only its remains.
func gone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil && syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ")
	}, 10*time.Second, 5*time.Millisecond)
}

func TestNothingIsLeftBehind(t *testing.T) {
	var log strings.Builder
	require.NoError(t, Run(Command(t.Context(), "sh", "-c", "sleep 600 >&- 2>&- & echo $!"), &log))
	lines := strings.Fields(log.String())
	pid, err := strconv.Atoi(lines[len(lines)-1])
	require.NoError(t, err)
	gone(t, pid)
}

func TestWholeGroupIsKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var log strings.Builder
	require.Error(t, Run(Command(ctx, "sh", "-c", "sleep 600 & echo $!; wait"), &log))
	lines := strings.Fields(log.String())
	pid, err := strconv.Atoi(lines[len(lines)-1])
	require.NoError(t, err)
	gone(t, pid)
}
