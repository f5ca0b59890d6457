package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Dynalite is a running dynalite, a server that speaks DynamoDB's protocol, on the loopback
// interface. It takes any credentials.
type Dynalite struct {
	*Process
	// Endpoint is its URL.
	Endpoint string
}

// DynaliteEnv is an environment in which the AWS SDK finds credentials that dynalite takes, and
// nothing of the machine's own configuration. NAME=value.
var DynaliteEnv = []string{
	"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
	"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
}

// DynaliteConfig says how to start dynalite.
type DynaliteConfig struct {
	Programs string // directory that `tools/install node` prints
	Addr     string // a free loopback one if empty
	Dir      string // of its tables, which outlive it then; in memory if empty
	Attachment
}

// StartDynalite starts dynalite from dir, as `tools/install node` prints it, on a free port
// and waits until it answers.
func StartDynalite(ctx context.Context, dir string) (*Dynalite, error) {
	return DynaliteConfig{Programs: dir}.Start(ctx)
}

// Start starts dynalite and waits until it answers.
//
// Where it differs from DynamoDB: requests are never throttled, a table is active some
// milliseconds after it was asked for, and one process serves all requests in turn, so a
// race in it is less of one. Limits of items and pages, the order of strings and empty
// binary values are as in DynamoDB.
func (cfg DynaliteConfig) Start(ctx context.Context) (*Dynalite, error) {
	line, err := cfg.line()
	if err != nil {
		return nil, err
	}
	if cfg.Addr == "" {
		if cfg.Addr, err = FreeAddr(); err != nil {
			return nil, err
		}
	}
	host, port, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("start dynalite: %w", err)
	}
	line = append(line, "--host", host, "--port", port, "--createTableMs", "20")
	if cfg.Dir != "" {
		line = append(line, "--path", cfg.Dir)
	}
	p, err := cfg.start("dynalite", exec.CommandContext(ctx, line[0], line[1:]...))
	if err != nil {
		return nil, err
	}
	d := &Dynalite{Process: p, Endpoint: "http://" + cfg.Addr}
	wait, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if err := d.Await(wait, d.answers); err != nil {
		_ = d.Kill()
		return nil, err
	}
	return d, nil
}

// line is the command that runs dynalite.
func (cfg DynaliteConfig) line() ([]string, error) {
	if cfg.Programs == "" {
		return nil, errors.New("find dynalite: no directory given; run through make, or set FOREBAY_NODE=$(tools/install node)")
	}
	main := filepath.Join(cfg.Programs, "node_modules", "dynalite", "cli.js")
	if _, err := os.Stat(main); err != nil {
		return nil, fmt.Errorf("find dynalite: %w; run tools/install node", err)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("find Node.js: %w; run tools/install system", err)
	}
	return []string{node, main}, nil
}

// Backend starts dynalite as what the tables of a cluster are in.
func (cfg DynaliteConfig) Backend(ctx context.Context, _ string) (*Backend, error) {
	d, err := cfg.Start(ctx)
	if err != nil {
		return nil, err
	}
	return d.Backend(), nil
}

// Backend returns dynalite as what the tables of a cluster are in.
func (d *Dynalite) Backend() *Backend {
	return &Backend{Addr: strings.TrimPrefix(d.Endpoint, "http://"), Env: DynaliteEnv, Process: d.Process, Close: d.Kill}
}

// answers fails unless the server replies; what it says of an empty request is no matter.
func (d *Dynalite) answers(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.Endpoint, nil)
	if err != nil {
		return fmt.Errorf("ask dynalite: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask dynalite: %w", err)
	}
	return resp.Body.Close()
}
