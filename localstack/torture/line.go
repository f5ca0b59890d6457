package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// line is how a client reaches brokers. It can be cut for good, and it can lose replies.
// It is safe for concurrent use.
type line struct {
	// losing, if not nil, is how many of a thousand reads fail with the connection: the
	// request was carried out then, and its answer is gone.
	losing *atomic.Int64
	lost   *atomic.Int64 // counts them

	mu    sync.Mutex
	conns []net.Conn
	isCut bool
}

var (
	errCut  = errors.New("the line is cut")
	errLost = errors.New("the reply is lost")
)

func (l *line) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut {
		return nil, errors.Join(errCut, conn.Close())
	}
	l.conns = append(l.conns, conn)
	if l.losing != nil {
		return &lossy{Conn: conn, line: l}, nil
	}
	return conn, nil
}

// cut closes what is open and refuses what follows.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
	for _, conn := range l.conns {
		conn.Close()
	}
}

// lossy is a connection that ends now and then when a reply has come.
type lossy struct {
	net.Conn
	line *line
}

func (c *lossy) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && rand.Int64N(1000) < c.line.losing.Load() {
		c.line.lost.Add(1)
		return 0, errors.Join(errLost, c.Close())
	}
	return n, err
}
