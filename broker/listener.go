package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Accept errors (such as too many open files) are met with a pause that doubles
// between these bounds.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// listener is an open Listener.
type listener struct {
	Listener // with the advertised address filled in
	ln       net.Listener
	received prometheus.Counter // bytes
	sent     prometheus.Counter // bytes
}

// listen opens l.
func listen(ctx context.Context, l Listener, m *metrics) (*listener, error) {
	var lc net.ListenConfig // net sets TCP_NODELAY on what it accepts
	ln, err := lc.Listen(ctx, "tcp", l.BindAddr)
	if err != nil {
		return nil, fmt.Errorf("open listener %s: %w", l.Name, err)
	}
	host, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open listener %s: %w", l.Name, err), ln.Close())
	}
	if l.AdvertisedHost == "" {
		l.AdvertisedHost = host
		if named, _, err := net.SplitHostPort(l.BindAddr); err == nil {
			l.AdvertisedHost = named
		}
	}
	if l.AdvertisedPort == 0 {
		p, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open listener %s: %w", l.Name, err), ln.Close())
		}
		l.AdvertisedPort = int32(p)
	}
	return &listener{
		Listener: l, ln: ln,
		received: m.bytesIn.WithLabelValues(l.Name), sent: m.bytesOut.WithLabelValues(l.Name),
	}, nil
}

// advertised is the address that clients of l are told, as host:port.
func (l *listener) advertised() string {
	return net.JoinHostPort(l.AdvertisedHost, strconv.Itoa(int(l.AdvertisedPort)))
}

// accept serves connections of l until it is closed.
func (b *Broker) accept(l *listener) {
	pause := time.Duration(0)
	for {
		nc, err := l.ln.Accept()
		if err == nil {
			pause = 0
			b.serve(l, nc)
			continue
		}
		if b.closing() || errors.Is(err, net.ErrClosed) {
			return
		}
		pause = min(max(2*pause, acceptPauseMin), acceptPauseMax)
		b.log.Warn("accept connection", "listener", l.Name, "err", err, "retry_in", pause)
		select {
		case <-time.After(pause):
		case <-b.draining:
			return
		}
	}
}

// serve starts the goroutines of a new connection, or closes it if there are too many.
func (b *Broker) serve(l *listener, nc net.Conn) {
	c := newConn(b, l, nc)
	b.mu.Lock()
	closing := b.closing()
	full := len(b.conns) >= b.cfg.Limits.MaxConnections
	if !closing && !full {
		b.conns[c] = struct{}{}
		b.connWait.Add(1)
	}
	b.mu.Unlock()
	if closing || full {
		if full {
			b.metrics.closed.WithLabelValues(l.Name, "limit").Inc()
			b.log.Warn("refuse connection: too many", "listener", l.Name, "limit", b.cfg.Limits.MaxConnections, "remote", nc.RemoteAddr().String())
		}
		if closing {
			reset(nc)
		}
		_ = nc.Close()
		return
	}
	b.metrics.accepted.WithLabelValues(l.Name).Inc()
	b.metrics.connections.WithLabelValues(l.Name).Inc()
	go func() {
		defer b.connWait.Done()
		c.run()
		b.metrics.connections.WithLabelValues(l.Name).Dec()
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	}()
}
