package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/forebaylog/forebay/functions/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// openAPI adds the admin API on the stores of the node. tokens is the file of those who may use it, "" if there
// is none. The API is to be closed once the server is.
func (a *adminServer) openAPI(parts nodeParts, tokens string, log *slog.Logger) (closeAPI func() error, err error) {
	if tokens != "" {
		if _, err := readTokens(tokens); err != nil {
			return nil, err
		}
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

// whoAsks finds out who sends a request: who has a token of the file, which is read for each request, so that it may
// change; or, without a file, nobody in particular, who may change things from this machine only.
func whoAsks(r *http.Request, tokens string) (admin.Caller, error) {
	c := admin.Caller{Principal: "User:ANONYMOUS", Address: r.RemoteAddr}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		c.Address = host
	}
	if tokens == "" {
		c.Writes = local(r, c.Address)
		if !c.Writes && r.Method != http.MethodGet && r.Method != http.MethodHead {
			return c, &admin.Refusal{Status: http.StatusForbidden, Detail: "without --admin-token-file only requests from this machine, to its loopback address and by no proxy, may change things"}
		}
		if loopback(c.Address) && !namesLoopback(r.Host) {
			return c, &admin.Refusal{Status: http.StatusForbidden, Detail: "from this machine ask localhost, or give the broker an --admin-token-file"}
		}
		return c, nil
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return c, &admin.Refusal{Status: http.StatusUnauthorized, Detail: "send a token of the broker's --admin-token-file, as Authorization: Bearer TOKEN"}
	}
	known, err := readTokens(tokens)
	if err != nil {
		return c, err
	}
	want := sha256.Sum256([]byte(given))
	for _, t := range known {
		if subtle.ConstantTimeCompare(t.sum[:], want[:]) == 1 {
			c.Principal, c.Writes = "User:"+t.name, t.writes
			return c, nil
		}
	}
	return c, &admin.Refusal{Status: http.StatusUnauthorized, Detail: "the token is not one of the broker's --admin-token-file"}
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

// token is a line of a token file.
type token struct {
	name   string
	sum    [sha256.Size]byte
	writes bool
}

// readTokens reads a token file; empty lines and those that begin with # do not count.
func readTokens(path string) ([]token, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open --admin-token-file: %w", err)
	}
	defer f.Close()
	return parseTokens(f)
}

var errTokens = errors.New("want a name, a token of 16 characters or more and perhaps the word read")

func parseTokens(r io.Reader) (all []token, err error) {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 2 || len(fields) > 3 || len(fields[1]) < 16 || len(fields) == 3 && fields[2] != "read" {
			return nil, fmt.Errorf("read --admin-token-file, line %d: %w", n, errTokens)
		}
		all = append(all, token{fields[0], sha256.Sum256([]byte(fields[1])), len(fields) == 2})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read --admin-token-file: %w", err)
	}
	return all, nil
}
