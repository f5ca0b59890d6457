// Package rig starts, watches and ends the processes that the end-to-end tests and the
// benchmark work with: the built Forebay binary, a MinIO server, Apache Kafka's server and its Java tools.
//
// It owns the processes it starts and no others, and ends them by their ids; on Linux they also end with
// this process, however it ends. It never keeps state between runs: directories are handed in. Every type is safe for concurrent use.
package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Process is a running child. Its output is kept in memory, up to logLimit bytes.
type Process struct {
	name    string
	cmd     *exec.Cmd
	started time.Time
	log     *tail
	done    chan struct{}
	err     error // how it ended; read after done
}

// StartProcess starts cmd with its output captured. Streams that cmd already has are left as they are.
func StartProcess(name string, cmd *exec.Cmd) (*Process, error) {
	return Attachment{}.start(name, cmd)
}

// Attachment says how a process is tied to the one that starts it.
type Attachment struct {
	// Log is a file that gets the process's output too, behind what it holds; none if empty.
	Log string
	// Apart puts the process into a process group of its own, so that Ctrl-C in a terminal
	// reaches only who has started it.
	Apart bool
}

// start starts cmd as StartProcess does.
func (a Attachment) start(name string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{name: name, cmd: cmd, log: &tail{}, done: make(chan struct{})}
	var out io.Writer = p.log
	var file *os.File // nil: none, which may be closed
	if a.Log != "" {
		var err error
		if file, err = os.OpenFile(a.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
		out = io.MultiWriter(p.log, file)
	}
	if cmd.Stdout == nil {
		cmd.Stdout = out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = out
	}
	cmd.WaitDelay = lateOutput
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: a.Apart}
	endWithParent(cmd.SysProcAttr)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // which has to live as long as the child: see endWithParent
		defer runtime.UnlockOSThread()
		p.started = time.Now()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		_ = file.Close() // what was written is in the file
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Name returns what the process was called when it was started.
func (p *Process) Name() string { return p.name }

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Started returns the time just before the process was started.
func (p *Process) Started() time.Time { return p.started }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Output returns what the process wrote to the captured streams, the last logLimit bytes.
func (p *Process) Output() string { return p.log.String() }

// Wait waits for the end of the process and returns its error, an *exec.ExitError if it failed.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for %s to end: %w", p.name, context.Cause(ctx))
	}
}

// Kill ends the process with SIGKILL and waits for it. It is no error if it has ended.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) && p.Running() {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.done
	return nil
}

// Stop asks the process to end with SIGTERM, waits, and returns how long it took. When
// limit has passed it is killed and an error returned; the end of its output tells then, with
// programs in Go and Java, what each of their threads was at.
func (p *Process) Stop(limit time.Duration) (time.Duration, error) {
	began := time.Now()
	if !p.Running() {
		return 0, nil
	}
	if err := p.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) && p.Running() {
		return 0, err
	}
	select {
	case <-p.done:
		return time.Since(began), nil
	case <-time.After(limit):
		_ = p.signal(syscall.SIGQUIT) // it may have ended just now
		select {
		case <-p.done:
		case <-time.After(traceTime):
		}
		if err := p.Kill(); err != nil {
			return 0, err
		}
		return limit, fmt.Errorf("stop %s: still running %s after SIGTERM, killed; its output tells what it was at", p.name, limit)
	}
}

// lateOutput is how long after its end the output of a process is read on, which its children may still have open.
const lateOutput = 5 * time.Second

// traceTime is for a process that was asked for the traces of its threads to write them.
const traceTime = 2 * time.Second

// Pause stops the process where it is, with SIGSTOP, until Resume.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %s to %s: %w", s, p.name, err)
	}
	return nil
}

// Await is the function of this name that also gives up when the process ends, and also says what the output said.
func (p *Process) Await(ctx context.Context, ready func(context.Context) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		select {
		case <-p.done:
			end(fmt.Errorf("it ended (%w)", p.err))
		case <-ctx.Done():
		}
	}()
	if err := await(ctx, 5*time.Millisecond, ready); err != nil {
		return fmt.Errorf("await %s: %w; output:\n%s", p.name, err, p.Output())
	}
	return nil
}

// logLimit bounds the captured output of a process, in bytes.
const logLimit = 256 << 10

// tail is a writer that keeps the last logLimit bytes.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(b)
	if extra := t.buf.Len() - logLimit; extra > 0 {
		t.buf.Next(extra)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
