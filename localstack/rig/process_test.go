package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const parentEnv = "FOREBAY_RIG_PARENT"

// TestMain is, in a process that a test starts, a parent that starts a child, tells its pid, and waits for its end.
func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) == "" {
		os.Exit(m.Run())
	}
	child, err := StartProcess("child", exec.Command("sleep", "600"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(child.PID())
	<-child.Done()
}

// What a test has started ends with it, also when nothing of it is left to end it.
func TestChildrenEndWithAParentThatIsKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the kernel does it")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), parentEnv+"=1")
	parent, err := StartProcess("parent", cmd)
	require.NoError(t, err)
	defer func() { require.NoError(t, parent.Kill()) }()
	var child int
	require.NoError(t, parent.Await(t.Context(), func(context.Context) error {
		_, err := fmt.Sscan(parent.Output(), &child)
		return err
	}))
	require.True(t, alive(child))
	require.NoError(t, parent.Kill())
	require.Eventually(t, func() bool { return !alive(child) }, time.Minute, 5*time.Millisecond)
}

// alive reports whether a process runs; one that has ended and that nobody has asked about does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return !errors.Is(err, os.ErrNotExist) && !strings.Contains(string(stat), ") Z ")
}

// The output of a process that has ended is not waited for as long as its children have it open.
func TestKillDoesNotWaitForGrandchildren(t *testing.T) {
	t.Parallel() // it takes as long as output is read on
	p, err := StartProcess("parent", exec.Command("sh", "-c", "sleep 600 & echo $!; wait"))
	require.NoError(t, err)
	var grandchild int
	require.NoError(t, p.Await(t.Context(), func(context.Context) error {
		_, err := fmt.Sscan(p.Output(), &grandchild)
		return err
	}))
	defer func() { _ = syscall.Kill(grandchild, syscall.SIGKILL) }()
	require.NoError(t, p.Kill())
}
