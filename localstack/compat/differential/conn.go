package differential

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answerLimit is how long a request may take to be answered before the answer counts as none.
const answerLimit = 10 * time.Second

// What takes the place of an answer. They are compared like answers.
var (
	errClosed   = errors.New("connection closed")
	errNoAnswer = errors.New("no answer")
)

// conn is one connection to a broker, on which requests are sent one after the other.
type conn struct {
	nc          net.Conn
	correlation int32
	format      *kmsg.RequestFormatter
}

func dial(ctx context.Context, addr string) (*conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return &conn{nc: nc, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("differential"))}, nil
}

// frame is a request as it stands on the wire, size included.
func (c *conn) frame(req kmsg.Request) []byte {
	c.correlation++
	return c.format.AppendRequest(nil, req, c.correlation)
}

// write sends bytes as they are.
func (c *conn) write(frame []byte) error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(answerLimit)) // fails only when closed, as the write will
	if _, err := c.nc.Write(frame); err != nil {
		return errClosed
	}
	return nil
}

// read returns the next response without its size. It fails with errClosed or errNoAnswer.
func (c *conn) read(limit time.Duration) ([]byte, error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(limit)) // fails only when closed, as the read will
	var size [4]byte
	if _, err := io.ReadFull(c.nc, size[:]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, errNoAnswer
		}
		return nil, errClosed
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > 64<<20 {
		return nil, fmt.Errorf("response of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.nc, body); err != nil {
		return nil, errClosed
	}
	return body, nil
}

// decode reads a response to req, whose header it checks.
func decode(req kmsg.Request, body []byte, correlation int32) (kmsg.Response, error) {
	if got := int32(binary.BigEndian.Uint32(body)); got != correlation {
		return nil, fmt.Errorf("response with correlation id %d, want %d", got, correlation)
	}
	body = body[4:]
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		if len(body) == 0 || body[0] != 0 {
			return nil, errors.New("response header without its empty tags")
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("response that cannot be decoded: %w", err)
	}
	return resp, nil
}
