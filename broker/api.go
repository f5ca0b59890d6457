package broker

import (
	"context"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/wire"
)

// api is one Kafka API as this broker serves it.
type api struct {
	key      kmsg.Key
	min, max int16 // the versions that handle is called with
	// fromZero makes ApiVersions name versions from 0 on, for clients that draw
	// conclusions from the range. Those below min are refused like any other.
	fromZero bool
	// handle answers c once, now or later; see call. It runs on the connection's
	// reader, so the requests of a connection are handled in their order, and while it
	// runs no further request of that connection is read. It must not wait for
	// another request. ctx ends with the connection.
	handle func(ctx context.Context, b *Broker, c *call)
}

// advertisedMin returns the lowest version that ApiVersions names.
func (a *api) advertisedMin() int16 {
	if a.fromZero {
		return 0
	}
	return a.min
}

// synchronous makes a handler of a function that returns the response.
func synchronous(f func(ctx context.Context, b *Broker, c *call) kmsg.Response) func(context.Context, *Broker, *call) {
	return func(ctx context.Context, b *Broker, c *call) { c.reply(f(ctx, b, c)) }
}

// response is the body of an answer. Every kmsg.Response is one.
type response interface {
	SetVersion(version int16)
	IsFlexible() bool
	AppendTo(dst []byte) []byte
}

// requestOf is the body of c, whose API has requests of type R.
func requestOf[R kmsg.Request](c *call) R {
	return c.body.(R) //nolint:errcheck // it was made by its key
}

// responseTo is an empty response to req, whose API has responses of type R.
func responseTo[R kmsg.Response](req kmsg.Request) R {
	return req.ResponseKind().(R) //nolint:errcheck // it was made by its key
}

// gathered is a response that refers to memory which is written to the socket
// without being copied, such as record batches. The writer calls AppendBuffers in
// place of AppendTo. The memory must stay unchanged; the writer forgets it once it
// is written.
type gathered interface {
	response
	AppendBuffers(dst *wire.Buffers)
}

// call is one request in flight. Its owner answers it exactly once, from any
// goroutine, by one of reply, replyLater, noReply,
// closeConn and closeWith. Responses leave in
// the order of the requests, whatever the order of the answers. After the
// connection has gone an answer is dropped.
type call struct {
	key           kmsg.Key
	version       int16
	correlationID int32
	clientID      string // "" also for a null one
	body          kmsg.Request
	received      time.Time
	size          int // of the frame, in bytes

	conn   *conn
	frame  []byte // until it is decoded
	weight int64  // what it holds of Broker.queued, until it is answered
	held   int64  // bytes of memory that the answer refers to, until it is written
	// Guarded by conn.mu: how the call was answered.
	answered bool
	answer   func() response // nil: no response
}

// reply answers with r.
func (c *call) reply(r response) {
	c.conn.answer(c, func() response { return r })
}

// holds says how many bytes of memory the reply that follows refers to. Until it is written they count as the
// frames of the connection's requests do, so that a client that does not read its answers gets no more of them.
func (c *call) holds(bytes int) {
	c.held = int64(bytes)
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.conn.inBytes += c.held
}

// replyLater answers with what f returns. The connection's writer calls f when the
// turn of this response has come, that is, when all before it were written, so
// that only one response of a connection at a time holds memory. f may block for
// I/O; it returns nil to send nothing. A panic in it closes the connection.
func (c *call) replyLater(f func() response) { c.conn.answer(c, f) }

// noReply ends the call without a response (Produce with acks=0).
func (c *call) noReply() { c.conn.answer(c, nil) }

// listener is where the client has connected.
func (c *call) listener() *listener { return c.conn.listener }

// remoteAddr is the client's address.
func (c *call) remoteAddr() net.Addr { return c.conn.nc.RemoteAddr() }

// code is the Kafka error code for err, 0 for nil. It counts the error for the
// metrics of this call's API, and logs an error that no code is known for.
func (c *call) code(err error) int16 {
	if err == nil {
		return 0
	}
	b := c.conn.b
	ke := b.kafkaError(err, "api", c.key.Name(), "client", c.clientID, "remote", c.remoteAddr().String())
	b.metrics.failed(c.key, ke)
	return ke.Code
}
