package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/cmd/forebay/internal/events"
	"github.com/forebaylog/forebay/functions/admin"
)

// defaultHTTP is where forebay dev takes events over HTTP.
const defaultHTTP = "127.0.0.1:8082"

// Limits of the connections that bring events; those of a request are the handler's.
const (
	eventHeaderTimeout = 5 * time.Second
	eventReadTimeout   = time.Minute
	eventWriteTimeout  = 2 * time.Minute
	eventIdleTimeout   = 2 * time.Minute
	eventHeaderBytes   = 64 << 10
	eventDrainTimeout  = time.Second // for requests that are there when the node stops
)

// eventServer takes events over HTTP for as long as the process runs, and hands them to the
// broker that is open. Without an address it does nothing.
type eventServer struct {
	tokens   tokenFile
	listener net.Listener
	server   *http.Server
	current  atomic.Pointer[events.Server] // of the broker that is open, nil if none is
	done     chan struct{}
}

// listenEvents binds the address, so that a port that is taken is known at the start, and so is a token file that cannot be read.
func listenEvents(ctx context.Context, addr string, tokens tokenFile, log *slog.Logger) (*eventServer, error) {
	e := &eventServer{tokens: tokens, done: make(chan struct{})}
	if addr == "" {
		close(e.done)
		return e, nil
	}
	if err := tokens.check(); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("open the address for events over HTTP: %w; choose another --http-addr, or an empty one for none", err)
	}
	if tokens.path == "" && !isLoopback(l.Addr().String()) {
		log.Warn("events over HTTP are taken from whoever reaches the address: give a --http-token-file, or see to it that only those do who may", "addr", l.Addr().String())
	}
	e.listener = l
	e.server = &http.Server{
		Handler: e, ReadHeaderTimeout: eventHeaderTimeout, ReadTimeout: eventReadTimeout, WriteTimeout: eventWriteTimeout,
		IdleTimeout: eventIdleTimeout, MaxHeaderBytes: eventHeaderBytes,
	}
	go func() {
		defer close(e.done)
		_ = e.server.Serve(l) // returns when close closes it
	}()
	return e, nil
}

// ServeHTTP implements http.Handler. On a loopback address it takes no requests to names of others, which is
// how a web page would have a browser send some; with a token file, only those of a token that may write.
func (e *eventServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isLoopback(e.listener.Addr().String()) && !isLoopback(r.Host) {
		events.Misdirected(w, r.Host)
		return
	}
	if err := e.admits(r); err != nil {
		admin.Refuse(w, err)
		return
	}
	s := e.current.Load()
	if s == nil {
		events.Unavailable(w, "no broker is open")
		return
	}
	s.ServeHTTP(w, r)
}

// admits fails if a request is of nobody who may send events.
func (e *eventServer) admits(r *http.Request) error {
	if e.tokens.path == "" {
		return nil
	}
	t, err := e.tokens.bearer(r)
	if err == nil && !t.writes {
		err = &admin.Refusal{Status: http.StatusForbidden, Detail: "User:" + t.name + " may read, and send no events"}
	}
	return err
}

// serve hands events to a node until the function it returns is called, which waits a while for the
// requests that are there.
func (e *eventServer) serve(node *broker.Broker, log *slog.Logger, metrics prometheus.Registerer) (stop func(), err error) {
	if e.listener == nil {
		return func() {}, nil
	}
	s, err := events.Open(events.Config{Brokers: []string{node.Addrs()[0].String()}, Logger: log, Registerer: metrics})
	if err != nil {
		return nil, err
	}
	e.current.Store(s)
	return func() {
		e.current.Store(nil)
		ctx, cancel := context.WithTimeout(context.Background(), eventDrainTimeout)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			log.Warn("events over HTTP were cut off; their senders were not told that they are written", "err", err)
		}
	}, nil
}

// isLoopback reports whether an address, with a port or without one, is of this machine only.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = strings.Trim(addr, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// url is where events go, or "".
func (e *eventServer) url() string {
	if e.listener == nil {
		return ""
	}
	return "http://" + e.listener.Addr().String()
}

func (e *eventServer) close() error {
	if e.server == nil {
		return nil
	}
	err := e.server.Close()
	<-e.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
