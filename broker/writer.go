package broker

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/forebaylog/forebay/broker/wire"
)

// flushAt is the number of bytes from which responses are sent rather than gathered
// further.
const flushAt = 64 << 10

// answer records how k is answered and wakes the writer if it is k's turn.
func (c *conn) answer(k *call, f func() response) {
	c.mu.Lock()
	if k.answered {
		c.mu.Unlock()
		c.log.Error("drop second answer to a request", "api", k.key.Name())
		return
	}
	k.answered, k.answer = true, f
	turn := len(c.queue) > 0 && c.queue[0] == k
	c.mu.Unlock()
	if k.weight > 0 {
		c.b.queued.Release(k.weight)
	}
	c.b.metrics.answered(k.key, time.Since(k.received))
	if turn {
		signal(c.wake)
	}
}

// take removes the answered requests at the head of the queue and returns them. If
// there is none, it waits; it returns nil at the end of the connection.
func (c *conn) take(into []*call) []*call {
	for {
		c.mu.Lock()
		n := 0
		for n < len(c.queue) && c.queue[n].answered {
			n++
		}
		into = append(into[:0], c.queue[:n]...)
		rest := copy(c.queue, c.queue[n:])
		clear(c.queue[rest:])
		c.queue = c.queue[:rest]
		end := c.aborted || c.readDone && rest == 0
		c.mu.Unlock()
		if n > 0 {
			return into
		}
		if end {
			return nil
		}
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			return nil
		}
	}
}

// release takes n requests with size bytes of frames and answers out of the count of those in flight.
func (c *conn) release(n int, size int64) {
	c.mu.Lock()
	c.inFlight -= n
	c.inBytes -= size
	c.mu.Unlock()
	signal(c.room)
}

// write sends responses until the connection ends.
func (c *conn) write() {
	var out wire.Buffers
	var calls []*call
	for {
		calls = c.take(calls)
		if calls == nil {
			return
		}
		if err := c.send(&out, calls); err != nil {
			c.abort(err)
			return
		}
		clear(calls)
	}
}

// send writes the responses of calls, several in one write while they are small.
func (c *conn) send(out *wire.Buffers, calls []*call) error {
	n, size := 0, int64(0)
	for _, k := range calls {
		err := c.encode(out, k)
		n, size = n+1, size+int64(k.size)+k.held
		if out.Len() >= flushAt || err != nil {
			if ferr := c.flush(out); ferr != nil {
				return ferr
			}
			c.release(n, size)
			n, size = 0, 0
		}
		if err != nil {
			return err
		}
	}
	err := c.flush(out)
	c.release(n, size)
	return err
}

// encode adds the response of k to out. After an error out is as it was.
func (c *conn) encode(out *wire.Buffers, k *call) (err error) {
	if k.answer == nil {
		return nil
	}
	start := out.Mark()
	defer func() {
		if r := recover(); r != nil {
			c.log.Error("recover from panic in response", "api", k.key.Name(), "version", k.version,
				"panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			out.Cut(start)
			err = errPanic
		}
	}()
	resp := k.answer()
	k.answer = nil
	switch r := resp.(type) {
	case nil:
		return nil
	case closing:
		return r.cause
	}
	resp.SetVersion(k.version)
	out.Frame(func(out *wire.Buffers) {
		out.Append(func(dst []byte) []byte {
			return wire.AppendResponseHeader(dst, k.key, k.correlationID, resp.IsFlexible())
		})
		if g, ok := resp.(gathered); ok {
			g.AppendBuffers(out)
			return
		}
		out.Append(resp.AppendTo)
	})
	return nil
}

// flush writes and empties out.
func (c *conn) flush(out *wire.Buffers) error {
	if out.Len() == 0 {
		return nil
	}
	defer out.Reset()
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.frameTime(out.Len()))); err != nil {
		return fmt.Errorf("write response: %w", err)
	}
	v := out.Vector()
	n, err := v.WriteTo(c.nc)
	c.listener.sent.Add(float64(n))
	if err != nil {
		return fmt.Errorf("write response: %w", err)
	}
	return nil
}

// closing is the response that closes the connection.
type closing struct{ cause error }

func (closing) SetVersion(int16)           {}
func (closing) IsFlexible() bool           { return false }
func (closing) AppendTo(dst []byte) []byte { return dst }

// closeWith ends the call and closes the connection with a cause, after the
// responses before it.
func (c *call) closeWith(cause error) {
	c.conn.drain()
	c.conn.answer(c, func() response { return closing{cause} })
}

// closeConn is closeWith for a cause that is told in words, which start with a verb.
func (c *call) closeConn(reason string) { c.closeWith(errors.New(reason)) }
