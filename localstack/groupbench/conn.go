package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// conn is one connection to a broker, for requests one after the other. It is used by one
// goroutine. Thousands of members share few of them, which whole clients would not.
type conn struct {
	conn   net.Conn
	reader *bufio.Reader
	format *kmsg.RequestFormatter
	next   int32
	buf    []byte
}

func dial(ctx context.Context, addr string) (*conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{conn: c, reader: bufio.NewReader(c), format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("groupbench"))}, nil
}

// requestLimit is how long an answer may take, a join included.
const requestLimit = time.Minute

// ask sends a request and returns the answer of the same version.
func (c *conn) ask(req kmsg.Request) (kmsg.Response, error) {
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := c.exchange(req, resp); err != nil {
		return nil, fmt.Errorf("ask for %s: %w", kmsg.NameForKey(req.Key()), err)
	}
	return resp, nil
}

func (c *conn) exchange(req kmsg.Request, resp kmsg.Response) error {
	if err := c.conn.SetDeadline(time.Now().Add(requestLimit)); err != nil {
		return err
	}
	c.next++
	c.buf = c.format.AppendRequest(c.buf[:0], req, c.next)
	if _, err := c.conn.Write(c.buf); err != nil {
		return err
	}
	var head [8]byte // length and correlation id
	if _, err := io.ReadFull(c.reader, head[:]); err != nil {
		return err
	}
	body := make([]byte, int(binary.BigEndian.Uint32(head[:4]))-4)
	if _, err := io.ReadFull(c.reader, body); err != nil {
		return err
	}
	if got := int32(binary.BigEndian.Uint32(head[4:])); got != c.next {
		return fmt.Errorf("the answer is to request %d, want %d", got, c.next)
	}
	return resp.ReadFrom(body) // no version that is asked for has a flexible header
}

func (c *conn) close() { _ = c.conn.Close() }
