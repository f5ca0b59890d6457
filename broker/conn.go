package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/forebaylog/forebay/broker/wire"
)

// Causes for which the broker itself ends a connection.
var (
	errShutdown = errors.New("broker shuts down")
	errIdle     = errors.New("connection was idle")
	errPanic    = errors.New("handler panicked")
)

// Frames above freeFrame bytes count against Limits.MaxQueuedBytes. Smaller ones do
// not, so that a heartbeat never waits for memory.
const freeFrame = 64 << 10

// frameRate is the rate in bytes a second that a frame must arrive and leave with,
// after Limits.FrameTimeout.
const frameRate = 32 << 10

// conn is one client's connection. Its reader reads requests and hands them to
// their API in order; its writer sends the responses in the same order. The reader
// stops while too many requests wait for their answer, so that a client that does
// not read its responses stalls itself alone.
type conn struct {
	b        *Broker
	listener *listener
	nc       net.Conn
	frames   *wire.FrameReader
	log      *slog.Logger

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc

	wake chan struct{} // for the writer: the head may have been answered, or reading ended
	room chan struct{} // for the reader: a request was finished

	mu       sync.Mutex
	queue    []*call // not yet taken by the writer, in order of arrival
	inFlight int     // requests whose response is not written
	inBytes  int64   // their frames, and what their answers hold
	stopped  bool    // no further request is read
	readDone bool    // the reader has ended
	served   bool    // a request was received
	aborted  bool
}

func newConn(b *Broker, l *listener, nc net.Conn) *conn {
	ctx, cancel := context.WithCancel(context.Background())
	return &conn{
		b: b, listener: l, nc: nc, frames: wire.NewFrameReader(nc),
		log: b.log.With("listener", l.Name, "remote", nc.RemoteAddr().String()),
		ctx: ctx, cancel: cancel,
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
}

// run serves the connection until it ends, and waits for its goroutines.
func (c *conn) run() {
	var writer sync.WaitGroup
	writer.Go(c.write)
	if err := c.read(); err != nil {
		c.abort(err)
	}
	c.mu.Lock()
	c.readDone = true
	c.mu.Unlock()
	signal(c.wake)
	writer.Wait()
	c.abort(nil)
}

// signal makes a note in ch that something happened; notes do not add up.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// drain ends the connection after the requests that were read are answered.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only when closed already
	signal(c.room)
}

// reset has the end of a connection told as a reset: clients take the orderly end of one
// on which nothing was ever answered for a mistake in their settings (no TLS where
// there should be), and give up, where it is only a broker that stops.
func reset(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only when closed already
	}
}

// abort closes the connection at once. The first call counts; its cause is logged.
func (c *conn) abort(cause error) {
	c.mu.Lock()
	first := !c.aborted
	c.aborted = true
	unserved := c.stopped && !c.served
	c.mu.Unlock()
	if !first {
		return
	}
	c.cancel()
	if unserved {
		reset(c.nc)
	}
	defer c.nc.Close()
	if cause == nil {
		return
	}
	label := closeCause(cause)
	c.b.metrics.closed.WithLabelValues(c.listener.Name, label).Inc()
	level := slog.LevelInfo
	if label == "client" || label == "shutdown" || label == "idle" {
		level = slog.LevelDebug
	}
	c.log.Log(context.Background(), level, "close connection", "err", cause)
}

// closeCause names the cause for the metrics.
func closeCause(err error) string {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return "client"
	case errors.Is(err, errShutdown):
		return "shutdown"
	case errors.Is(err, errIdle):
		return "idle"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrTooLarge):
		return "malformed"
	case errors.Is(err, errPanic):
		return "panic"
	}
	return "refused"
}

// read hands requests to their handlers. It returns nil when what was read is still
// to be answered before the connection ends, else why it ends now.
func (c *conn) read() error {
	for {
		if !c.awaitRoom() {
			return nil
		}
		frame, err := c.nextFrame()
		if c.isStopped() {
			return nil // a frame that was not read to its end will be sent again
		}
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.served = true
		c.mu.Unlock()
		if err := c.receive(frame); err != nil {
			return err
		}
	}
}

// awaitRoom waits until one more request may be in flight. It returns false when
// reading is to end.
func (c *conn) awaitRoom() bool {
	for {
		c.mu.Lock()
		limits := &c.b.cfg.Limits
		fits := c.inFlight == 0 || c.inFlight < limits.MaxInFlight && c.inBytes < limits.MaxInFlightBytes
		stopped := c.stopped
		c.mu.Unlock()
		if stopped || fits {
			return !stopped
		}
		select {
		case <-c.room:
		case <-c.ctx.Done():
			return false
		}
	}
}

func (c *conn) isStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// deadline bounds the next reads, unless reading is to end: then they fail at once.
func (c *conn) deadline(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		_ = c.nc.SetReadDeadline(time.Now().Add(d)) // fails only when closed, as the read will
	}
}

// frameTime is how long size bytes may take on their way.
func (c *conn) frameTime(size int) time.Duration {
	return c.b.cfg.Limits.FrameTimeout + time.Duration(size/frameRate)*time.Second
}

// nextFrame reads one frame. Whether its size is allowed is known before memory is
// taken for it, and there is memory for it.
func (c *conn) nextFrame() (*call, error) {
	for {
		c.deadline(c.b.cfg.Limits.ConnectionIdle)
		err := c.frames.Wait()
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || c.isStopped() {
			return nil, err
		}
		if c.idle() {
			return nil, errIdle
		}
	}
	c.deadline(c.b.cfg.Limits.FrameTimeout)
	size, err := c.frames.Size(c.b.cfg.Limits.MaxRequestBytes)
	if err != nil {
		return nil, err
	}
	k := &call{conn: c, size: size}
	if size > freeFrame {
		k.weight = int64(size)
		if err := c.b.queued.Acquire(c.ctx, k.weight); err != nil {
			return nil, fmt.Errorf("wait for memory: %w", err)
		}
	}
	c.deadline(c.frameTime(size))
	k.frame, err = c.frames.Body(size)
	if err != nil {
		c.b.queued.Release(k.weight)
		return nil, err
	}
	k.received = time.Now()
	c.listener.received.Add(float64(size))
	return k, nil
}

// idle reports whether no request is in flight.
func (c *conn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inFlight == 0
}

// receive puts k in line for its answer and dispatches it. A panic below it ends
// the connection and nothing else.
func (c *conn) receive(k *call) (err error) {
	c.mu.Lock()
	c.queue = append(c.queue, k)
	c.inFlight++
	c.inBytes += int64(k.size)
	c.mu.Unlock()
	defer func() {
		if r := recover(); r != nil {
			c.log.Error("recover from panic in handler", "api", k.key.Name(), "version", k.version,
				"panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			c.answer(k, nil)
			err = errPanic
		}
	}()
	c.b.dispatch(c.ctx, k)
	return nil
}
