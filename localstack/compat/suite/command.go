package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// lastWords is how long the output of a command is waited for after its processes were killed.
const lastWords = 5 * time.Second

// Command is a command in a process group of its own. When ctx ends, the whole group is
// killed; with Run also what the command has left behind when it has ended.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = os.Environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = lastWords
	return cmd
}

// Run runs a command that Command has made, with its output to log, and leaves no process of
// its group behind. Streams that cmd already has are left as they are.
func Run(cmd *exec.Cmd, log io.Writer) error {
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	if cmd.Stderr == nil {
		cmd.Stderr = log
	}
	fmt.Fprintln(log, "+", cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	err := cmd.Wait()
	if left := killGroup(cmd); left != nil && !errors.Is(left, os.ErrProcessDone) {
		err = errors.Join(err, left)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", cmd, err)
	}
	return nil
}

// killGroup kills the process group of a command that was started.
func killGroup(cmd *exec.Cmd) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	if err != nil {
		return fmt.Errorf("kill the process group of %s: %w", cmd.Path, err)
	}
	return nil
}
