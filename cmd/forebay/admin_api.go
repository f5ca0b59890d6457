package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/forebaylog/forebay/functions/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// openAPI adds the admin API on the stores of the node. tokens are those who may use it. The API is to be closed once the server is.
func (a *adminServer) openAPI(parts nodeParts, tokens tokenFile, log *slog.Logger) (closeAPI func() error, err error) {
	if err := tokens.check(); err != nil {
		return nil, err
	}
	cfg := admin.Config{Metadata: parts.control, Offsets: parts.offsets, Objects: parts.objects, Log: a.metadata, End: a.end, Settings: a.settings, Logger: log}
	if parts.cluster != nil {
		cfg.WAL, cfg.SessionTTL = parts.cluster.WAL, parts.cluster.SessionTTL
	}
	api := admin.New(cfg)
	a.api = admin.Guard(api, func(r *http.Request) (admin.Caller, error) { return whoAsks(r, tokens) })
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return api.Close(ctx)
	}, nil
}

// metadata is the log of the broker that runs, nil if none does.
func (a *adminServer) metadata() *metalog.Log {
	if node := a.node.Load(); node != nil {
		return node.Metadata()
	}
	return nil
}

// end is where a partition ends that the broker leads.
func (a *adminServer) end(p id.Partition) (id.Offset, bool) {
	if node := a.node.Load(); node != nil {
		return node.HighWatermark(p)
	}
	return 0, false
}

// settings are those of the broker that runs.
func (a *adminServer) settings() admin.Settings {
	if node := a.node.Load(); node != nil {
		return node.Settings()
	}
	return admin.Settings{}
}

// whoAsks finds out who sends a request: who has a token of the file or, without a file, nobody in
// particular, who may change things from this machine only.
func whoAsks(r *http.Request, tokens tokenFile) (admin.Caller, error) {
	c := admin.Caller{Principal: "User:ANONYMOUS", Address: r.RemoteAddr}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		c.Address = host
	}
	if tokens.path == "" {
		c.Writes = local(r, c.Address)
		if !c.Writes && r.Method != http.MethodGet && r.Method != http.MethodHead {
			return c, &admin.Refusal{Status: http.StatusForbidden, Detail: "without --admin-token-file only requests from this machine, to its loopback address and by no proxy, may change things"}
		}
		if loopback(c.Address) && !namesLoopback(r.Host) {
			return c, &admin.Refusal{Status: http.StatusForbidden, Detail: "from this machine ask localhost, or give the broker an --admin-token-file"}
		}
		return c, nil
	}
	t, err := tokens.bearer(r)
	if err != nil {
		return c, err
	}
	c.Principal, c.Writes = "User:"+t.name, t.writes
	return c, nil
}

// local reports whether a request comes from this machine and was meant for it: a browser that is told a
// loopback address for another name sends that name, one that a page of another site uses says so, and a proxy
// most often says that it is one.
func local(r *http.Request, from string) bool {
	for _, name := range []string{"Origin", "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"} {
		if len(r.Header.Values(name)) > 0 {
			return false
		}
	}
	return loopback(from) && namesLoopback(r.Host)
}

// namesLoopback reports whether a Host, with a port or without one, is this machine by a name that nobody can give to another.
func namesLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return host == "localhost" || loopback(strings.Trim(host, "[]"))
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
