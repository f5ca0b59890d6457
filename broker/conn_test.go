package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/wire"
)

// Responses leave in the order of the requests, though they are answered in another.
func TestResponsesKeepTheOrderOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parked []*call
		b, l := bareBroker(t, Limits{}, io.Discard, heartbeats(func(c *call) {
			if groupOf(c) == "park" {
				parked = append(parked, c)
				return
			}
			c.reply(newHeartbeatResponse())
		}))
		c := connect(t, b, l)
		go func() {
			for _, g := range []string{"park", "a", "park", "b", "c"} {
				c.send(heartbeat(g))
			}
		}()
		synctest.Wait()
		require.Len(t, parked, 2)
		parked[1].reply(newHeartbeatResponse())
		synctest.Wait()
		require.NoError(t, c.nc.SetReadDeadline(time.Now().Add(time.Second)))
		_, err := c.nc.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "nothing leaves before the first is answered")
		require.NoError(t, c.nc.SetReadDeadline(time.Time{}))
		parked[0].reply(newHeartbeatResponse())
		for i := range int32(5) {
			c.response(i, newHeartbeatResponse())
		}
		require.NoError(t, b.Close(t.Context()))
		c.closed()
	})
}

// A client that sends more than may be in flight is not read further until the
// responses before it have left.
func TestBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parked []*call
		b, l := bareBroker(t, Limits{MaxInFlight: 3}, io.Discard, heartbeats(func(c *call) { parked = append(parked, c) }))
		c := connect(t, b, l)
		sent := 0
		go func() {
			for range 100 {
				if _, err := c.nc.Write(encoded(heartbeat("g"), int32(sent))); err != nil {
					return
				}
				sent++
			}
		}()
		synctest.Wait()
		require.Len(t, parked, 3)
		require.Less(t, sent, 100)
		for i := range int32(5) {
			parked[i].reply(newHeartbeatResponse())
			c.response(i, newHeartbeatResponse())
			synctest.Wait()
			require.Len(t, parked, 4+int(i))
		}
		require.NoError(t, c.nc.Close())
		parked[5].reply(newHeartbeatResponse()) // finds that the client has gone
		synctest.Wait()
		require.Empty(t, b.open(), "the other parked requests do not hold the connection")
		parked[6].reply(newHeartbeatResponse()) // is dropped
		require.NoError(t, b.Close(t.Context()))
	})
}

// Bytes in flight are bounded too, but one request is always admitted.
func TestBackpressureByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parked []*call
		b, l := bareBroker(t, Limits{MaxInFlightBytes: 100}, io.Discard, heartbeats(func(c *call) { parked = append(parked, c) }))
		c := connect(t, b, l)
		go func() {
			for i := range 3 {
				_, _ = c.nc.Write(encoded(heartbeat(string(bytes.Repeat([]byte("g"), 200))), int32(i)))
			}
		}()
		for i := range 3 {
			synctest.Wait()
			require.Len(t, parked, i+1)
			parked[i].reply(newHeartbeatResponse())
			c.response(int32(i), newHeartbeatResponse())
		}
		require.NoError(t, b.Close(t.Context()))
	})
}

// What answers hold that the client does not read counts as well.
func TestBackpressureByAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := 0
		b, l := bareBroker(t, Limits{MaxInFlightBytes: 1000}, io.Discard, heartbeats(func(c *call) {
			served++
			c.holds(600)
			c.reply(newHeartbeatResponse())
		}))
		c := connect(t, b, l)
		go func() {
			for i := range 10 {
				_, _ = c.nc.Write(encoded(heartbeat("g"), int32(i)))
			}
		}()
		synctest.Wait()
		require.Equal(t, 2, served)
		for i := range int32(10) {
			c.response(i, newHeartbeatResponse())
		}
		synctest.Wait()
		require.Equal(t, 10, served)
		require.NoError(t, b.Close(t.Context()))
	})
}

// What large frames hold of the memory for all connections is given back when they
// are answered, and when their connection goes before that.
func TestQueuedBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 200 << 10
		var parked []*call
		b, l := bareBroker(t, Limits{MaxQueuedBytes: 300 << 10, MaxRequestBytes: 250 << 10}, io.Discard,
			heartbeats(func(c *call) { parked = append(parked, c) }))
		big := encoded(joinOf(size), 0)
		b.byKey[kmsg.JoinGroup] = &api{key: kmsg.JoinGroup, min: 0, max: 9, handle: b.byKey[kmsg.Heartbeat].handle}
		first, second := connect(t, b, l), connect(t, b, l)
		_, err := first.nc.Write(big)
		require.NoError(t, err)
		go func() { _, _ = second.nc.Write(big) }()
		synctest.Wait()
		require.Len(t, parked, 1, "there is no memory for the second")
		small := connect(t, b, l)
		small.send(heartbeat("g"))
		synctest.Wait()
		require.Len(t, parked, 2, "a small frame needs none")
		_ = first.nc.Close()
		synctest.Wait()
		require.Len(t, parked, 2, "the request is still with its handler")
		parked[0].noReply()
		synctest.Wait()
		require.Len(t, parked, 3)
		parked[2].noReply()
		parked[1].noReply()
		require.True(t, b.queued.TryAcquire(300<<10), "all of it was given back")
		require.NoError(t, b.Close(t.Context()))
	})
}

// joinOf is a JoinGroup request of at least size bytes.
func joinOf(size int) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.SetVersion(5)
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: make([]byte, size)}}
	return req
}

// A connection that does nothing is closed, one that waits for an answer is not.
func TestIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parked []*call
		b, l := bareBroker(t, Limits{ConnectionIdle: time.Minute}, io.Discard, heartbeats(func(c *call) { parked = append(parked, c) }))
		waits, idle := connect(t, b, l), connect(t, b, l)
		waits.send(heartbeat("g"))
		begun := time.Now()
		idle.closed()
		require.Equal(t, time.Minute, time.Since(begun))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		parked[0].reply(newHeartbeatResponse())
		waits.response(0, newHeartbeatResponse())
		waits.closed()
		require.Equal(t, 2.0, valueOf(t, b.metrics.closed.WithLabelValues("PLAINTEXT", "idle")))
		require.NoError(t, b.Close(t.Context()))
	})
}

// A frame that trickles in is given up, however steadily it trickles.
func TestSlowFrames(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first []byte
		pause time.Duration
		limit time.Duration
	}{
		{"size", []byte{0}, time.Hour, 30 * time.Second},
		{"body", encoded(heartbeat("g"), 0)[:10], time.Hour, 30 * time.Second},
		{"steady", encoded(joinOf(1<<20), 0)[:100], 10 * time.Second, 63 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, l := bareBroker(t, Limits{}, io.Discard, heartbeats(func(*call) {}))
				c := connect(t, b, l)
				begun := time.Now()
				_, err := c.nc.Write(tc.first)
				require.NoError(t, err)
				go func() {
					for err == nil {
						time.Sleep(tc.pause)
						_, err = c.nc.Write([]byte{0})
					}
				}()
				c.closed()
				synctest.Wait()
				require.InDelta(t, tc.limit.Seconds(), time.Since(begun).Seconds(), 1)
				require.Equal(t, 1.0, valueOf(t, b.metrics.closed.WithLabelValues("PLAINTEXT", "timeout")))
				require.True(t, b.queued.TryAcquire(b.cfg.Limits.MaxQueuedBytes))
				require.NoError(t, b.Close(t.Context()))
				time.Sleep(2 * tc.pause) // lets the sender end
			})
		})
	}
}

// The end of a client is noticed while its requests are parked.
func TestClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ctx context.Context
		b, l := bareBroker(t, Limits{}, io.Discard, api{key: kmsg.Heartbeat, min: 0, max: 4, handle: func(c context.Context, _ *Broker, _ *call) { ctx = c }})
		c := connect(t, b, l)
		c.send(heartbeat("g"))
		synctest.Wait()
		require.NoError(t, ctx.Err())
		require.NoError(t, c.nc.Close())
		synctest.Wait()
		require.Error(t, ctx.Err())
		require.Empty(t, b.open())
		require.NoError(t, b.Close(t.Context()))
	})
}

// A client that does not read its responses loses its connection.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, l := bareBroker(t, Limits{}, io.Discard, heartbeats(func(c *call) { c.reply(newHeartbeatResponse()) }))
		c := connect(t, b, l)
		c.send(heartbeat("g"))
		time.Sleep(29 * time.Second)
		synctest.Wait()
		require.Len(t, b.open(), 1)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Empty(t, b.open())
		require.NoError(t, b.Close(t.Context()))
	})
}

// A panic ends the connection that it happened on, behind what was answered before.
func TestPanics(t *testing.T) {
	for _, where := range []string{"handler", "response"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				b, l := bareBroker(t, Limits{}, &log, heartbeats(func(c *call) {
					switch groupOf(c) {
					case "handler":
						panic("boom")
					case "response":
						c.replyLater(func() response { panic("boom") })
					default:
						c.reply(newHeartbeatResponse())
					}
				}))
				other, c := connect(t, b, l), connect(t, b, l)
				c.send(heartbeat("g"))
				c.response(0, newHeartbeatResponse())
				c.send(heartbeat(where))
				c.closed()
				other.send(heartbeat("g"))
				other.response(0, newHeartbeatResponse())
				require.NoError(t, b.Close(t.Context()))
				require.Contains(t, log.String(), "panic=boom")
				require.Contains(t, log.String(), "conn_test.go", "the stack is logged")
				require.Equal(t, 1.0, valueOf(t, b.metrics.closed.WithLabelValues("PLAINTEXT", "panic")))
			})
		})
	}
}

// Whatever a client sends, it ends no more than its own connection.
func TestMalformedRequests(t *testing.T) {
	frame := func(body ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	}
	for _, tc := range []struct {
		name string
		sent []byte
		log  string
	}{
		{"an http request", []byte("GET / HTTP/1.1\r\n\r\n"), "request too large"},
		{"a negative size", []byte{0x80, 0, 0, 0}, "malformed"},
		{"a size of zero", []byte{0, 0, 0, 0}, "malformed"},
		{"a header that is cut", frame(0, 12, 0, 4, 0, 0, 0, 0, 0), "malformed"},
		{"an unknown key", frame(0x7f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0), "not served"},
		{"a negative key", frame(0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0), "not served"},
		{"a key for brokers only", frame(0, 7, 0, 0, 0, 0, 0, 0, 0, 0), "not served"},
		{"a negative version", frame(0, 12, 0xff, 0xff, 0, 0, 0, 0, 0, 0), "not served"},
		{"a version of the future", frame(0, 12, 0x7f, 0xff, 0, 0, 0, 0, 0, 0), "not served"},
		{"a body that is cut", frame(0, 12, 0, 4, 0, 0, 0, 0, 0, 0, 0, 9), "malformed"},
		{"elements without end", frame(append([]byte{0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte{0x7f}, 40)...)...), "close connection"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				b, l := bareBroker(t, Limits{}, &log, heartbeats(func(c *call) { c.reply(newHeartbeatResponse()) }))
				b.byKey[kmsg.JoinGroup] = &api{key: kmsg.JoinGroup, min: 0, max: 9, handle: b.byKey[kmsg.Heartbeat].handle}
				other, c := connect(t, b, l), connect(t, b, l)
				go func() { _, _ = c.nc.Write(tc.sent) }()
				c.closed()
				other.send(heartbeat("g"))
				other.response(0, newHeartbeatResponse())
				require.NoError(t, b.Close(t.Context()))
				require.Contains(t, log.String(), tc.log)
			})
		})
	}
}

// A version that is not served is answered where there is room for an error.
func TestUnservedVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, l := bareBroker(t, Limits{}, io.Discard, api{key: kmsg.Heartbeat, min: 2, max: 4})
		c := connect(t, b, l)
		req, resp := heartbeat("g"), newHeartbeatResponse()
		req.SetVersion(1)
		resp.SetVersion(1)
		c.send(req)
		c.response(0, resp)
		require.Equal(t, kerr.UnsupportedVersion.Code, resp.ErrorCode)

		b.byKey[kmsg.Produce] = &api{key: kmsg.Produce, min: 3, max: 13, fromZero: true}
		produce := kmsg.NewPtrProduceRequest()
		produce.SetVersion(2)
		c.send(produce)
		c.closed()
		require.NoError(t, b.Close(t.Context()))
	})
}

// Close answers what is in flight, tells the parked, and waits no longer than the
// grace for what nobody answers.
func TestCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parked []*call
		b, l := bareBroker(t, Limits{}, io.Discard, heartbeats(func(c *call) { parked = append(parked, c) }))
		answered, idle, stuck := connect(t, b, l), connect(t, b, l), connect(t, b, l)
		answered.send(heartbeat("g"))
		synctest.Wait()
		stuck.send(heartbeat("g"))
		synctest.Wait()
		begun := time.Now()
		done := make(chan error)
		go func() { done <- b.Close(t.Context()) }()
		synctest.Wait()
		idle.closed()
		parked[0].reply(newHeartbeatResponse())
		answered.response(0, newHeartbeatResponse())
		answered.closed()
		require.Zero(t, time.Since(begun))
		stuck.closed()
		require.NoError(t, <-done)
		require.Equal(t, time.Second, time.Since(begun))
		require.NoError(t, b.Close(t.Context()), "again")
	})
}

// refuses is a Listener whose Accept fails a few times.
type refuses struct {
	net.Listener
	errs  []error
	times []time.Time
}

func (r *refuses) Accept() (net.Conn, error) {
	r.times = append(r.times, time.Now())
	if len(r.errs) == 0 {
		return nil, net.ErrClosed
	}
	err := r.errs[0]
	r.errs = r.errs[1:]
	return nil, err
}

func TestAcceptBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, l := bareBroker(t, Limits{}, io.Discard)
		r := &refuses{errs: make([]error, 10)}
		for i := range r.errs {
			r.errs[i] = errors.New("too many open files")
		}
		l.ln = r
		b.accept(l)
		require.Len(t, r.times, 11)
		for i := range 10 {
			require.Equal(t, min(acceptPauseMin<<i, acceptPauseMax), r.times[i+1].Sub(r.times[i]), "pause %d", i)
		}
	})
}

func TestMaxConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, l := bareBroker(t, Limits{MaxConnections: 1}, io.Discard, heartbeats(func(c *call) { c.reply(newHeartbeatResponse()) }))
		first := connect(t, b, l)
		connect(t, b, l).closed()
		first.send(heartbeat("g"))
		first.response(0, newHeartbeatResponse())
		_ = first.nc.Close()
		synctest.Wait()
		third := connect(t, b, l)
		third.send(heartbeat("g"))
		third.response(0, newHeartbeatResponse())
		require.NoError(t, b.Close(t.Context()))
	})
}

// gatheredResponse is a heartbeat's response with memory behind it.
type gatheredResponse struct {
	*kmsg.HeartbeatResponse
	memory []byte
}

func (g gatheredResponse) AppendBuffers(dst *wire.Buffers) {
	dst.Append(g.AppendTo)
	dst.Ref(g.memory)
}

// Responses made when their turn comes, and those with memory of others, leave whole.
func TestGatheredResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
		made := 0
		b, l := bareBroker(t, Limits{}, io.Discard, heartbeats(func(c *call) {
			c.replyLater(func() response {
				made++
				return gatheredResponse{newHeartbeatResponse(), memory}
			})
		}))
		c := connect(t, b, l)
		go func() {
			for range 3 {
				c.send(heartbeat("g"))
			}
		}()
		synctest.Wait()
		require.Equal(t, 1, made, "the second is made when the first has left")
		for i := range 3 {
			p, err := c.frame()
			require.NoError(t, err)
			require.Equal(t, uint32(i), binary.BigEndian.Uint32(p))
			require.True(t, bytes.HasSuffix(p, memory))
			require.Len(t, p, len(memory)+4+1+7)
		}
		require.NoError(t, b.Close(t.Context()))
	})
}

// noReply sends nothing, closeConn closes behind what was answered before.
func TestNoReplyAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		handled := ""
		b, l := bareBroker(t, Limits{}, &log, heartbeats(func(c *call) {
			handled += groupOf(c)
			switch groupOf(c) {
			case "n":
				c.noReply()
			case "x":
				c.closeConn("refuse what cannot be answered")
			default:
				c.reply(newHeartbeatResponse())
			}
		}))
		c := connect(t, b, l)
		go func() {
			var all []byte
			for i, g := range []string{"n", "a", "x", "b"} {
				all = append(all, encoded(heartbeat(g), int32(i))...)
			}
			_, _ = c.nc.Write(all)
		}()
		c.response(1, newHeartbeatResponse())
		c.closed()
		require.NoError(t, b.Close(t.Context()))
		require.Equal(t, "nax", handled, "nothing is handled behind the close")
		require.Contains(t, log.String(), "refuse what cannot be answered")
	})
}

// FuzzConnection: whatever a client sends is answered or ends its connection.
func FuzzConnection(f *testing.F) {
	f.Add(encoded(heartbeat("g"), 1))
	f.Add(append(encoded(heartbeat("g"), 1), encoded(kmsg.NewPtrApiVersionsRequest(), 2)...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{0, 0, 0, 10, 0, 18, 0x7f, 0xff, 0, 0, 0, 1, 0, 0})
	b, l := bareBroker(&testing.T{}, Limits{MaxRequestBytes: 1 << 20}, io.Discard, heartbeats(func(c *call) { c.reply(newHeartbeatResponse()) }))
	f.Fuzz(func(t *testing.T, sent []byte) {
		server, nc := net.Pipe()
		b.serve(l, server)
		go func() {
			_, _ = io.Copy(io.Discard, nc)
		}()
		_, _ = nc.Write(sent)
		require.NoError(t, nc.Close())
		b.connWait.Wait()
	})
}

func TestCloseCauses(t *testing.T) {
	for err, want := range map[error]string{
		io.EOF: "client", io.ErrUnexpectedEOF: "client", net.ErrClosed: "client", errShutdown: "shutdown", errIdle: "idle",
		os.ErrDeadlineExceeded: "timeout", wire.ErrMalformed: "malformed", wire.ErrTooLarge: "malformed", errPanic: "panic",
		errors.New("other"): "refused",
	} {
		require.Equal(t, want, closeCause(fmt.Errorf("wrapped: %w", err)))
	}
}
