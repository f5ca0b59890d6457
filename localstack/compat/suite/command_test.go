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

// untilNumber is a log that cancels when a number comes.
type untilNumber struct {
	strings.Builder
	cancel func()
}

func (u *untilNumber) Write(p []byte) (int, error) {
	if _, err := strconv.Atoi(strings.TrimSpace(string(p))); err == nil {
		u.cancel()
	}
	return u.Builder.Write(p)
}

func TestWholeGroupIsKilled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	log := untilNumber{cancel: cancel}
	require.Error(t, Run(Command(ctx, "sh", "-c", "sleep 600 & echo $!; wait"), &log))
	lines := strings.Fields(log.String())
	pid, err := strconv.Atoi(lines[len(lines)-1])
	require.NoError(t, err)
	gone(t, pid)
}
