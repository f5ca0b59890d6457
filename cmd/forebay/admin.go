package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/forebaylog/forebay/broker"
)

// adminServer answers /healthz (the process lives), /readyz (clients are served)
// /metrics and /metrics/detailed (Prometheus), /debug/pprof/ and the admin API. The zero listener means that none was asked for.
type adminServer struct {
	listener net.Listener
	api      http.Handler // below /v1/
	server   *http.Server
	node     atomic.Pointer[broker.Broker] // that serves, nil if none does
	done     chan struct{}
}

// listenAdmin binds the address, so that a port that is taken is known at the start.
func listenAdmin(ctx context.Context, addr string) (*adminServer, error) {
	a := &adminServer{done: make(chan struct{})}
	if addr == "" {
		close(a.done)
		return a, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("open the admin address: %w; choose another --admin-addr", err)
	}
	a.listener = l
	return a, nil
}

// ready returns nil if a broker serves clients, and else why none does.
func (a *adminServer) ready() error {
	if node := a.node.Load(); node != nil {
		return node.Ready()
	}
	return errors.New("no broker is open")
}

// serve starts answering; only /readyz waits for the broker.
func (a *adminServer) serve(metrics prometheus.Gatherer) {
	if a.listener == nil {
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := a.ready(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /metrics/detailed", a.detailed)
	if a.api != nil {
		mux.Handle("/v1/", a.api)
	}
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		defer close(a.done)
		_ = a.server.Serve(a.listener) // returns when close closes it
	}()
}

// detailed answers with the metrics by topic, partition and group.
func (a *adminServer) detailed(w http.ResponseWriter, r *http.Request) {
	node := a.node.Load()
	if node == nil {
		http.Error(w, "no broker is open", http.StatusServiceUnavailable)
		return
	}
	gather := func() ([]*dto.MetricFamily, error) { return node.GatherDetailed(r.Context()) }
	promhttp.HandlerFor(prometheus.GathererFunc(gather), promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// url is where the endpoints are, or "".
func (a *adminServer) url() string {
	if a.listener == nil {
		return ""
	}
	return "http://" + a.listener.Addr().String()
}

func (a *adminServer) close() error {
	if a.server == nil {
		if a.listener != nil {
			return a.listener.Close()
		}
		return nil
	}
	err := a.server.Close()
	<-a.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
