package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// sinkAdmin answers /healthz (the process lives), /readyz (the group has given partitions) and
// /metrics of a sink. The zero value answers nothing.
type sinkAdmin struct {
	listener net.Listener
	server   *http.Server
	done     chan struct{}
}

// serveSinkAdmin listens on addr, if there is one.
func serveSinkAdmin(ctx context.Context, addr string, ready func() error, metrics prometheus.Gatherer) (*sinkAdmin, error) {
	if addr == "" {
		return &sinkAdmin{}, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("open the admin address: %w; choose another --admin-addr", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	a := &sinkAdmin{listener: l, server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		_ = a.server.Serve(l) // returns when close closes it
	}()
	return a, nil
}

// says is where it listens, for the first line of a sink.
func (a *sinkAdmin) says() string {
	if a.listener == nil {
		return ""
	}
	return ", health and metrics on http://" + a.listener.Addr().String()
}

func (a *sinkAdmin) close() {
	if a.server != nil {
		_ = a.server.Close()
		<-a.done
	}
}
