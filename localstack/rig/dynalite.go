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
)

// Dynalite is a running dynalite, a server that speaks DynamoDB's protocol, on the loopback
// interface. Its tables are in memory and gone when it ends. It takes any credentials.
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

// StartDynalite starts dynalite from dir, as `tools/install node` prints it, on a free port
// and waits until it answers.
//
// Where it differs from DynamoDB: requests are never throttled, a table is active some
// milliseconds after it was asked for, and one process serves all requests in turn, so a
// race in it is less of one. Limits of items and pages, the order of strings and empty
// binary values are as in DynamoDB.
func StartDynalite(ctx context.Context, dir string) (*Dynalite, error) {
	if dir == "" {
		return nil, errors.New("find dynalite: no directory given; run through make, or set FOREBAY_NODE=$(tools/install node)")
	}
	main := filepath.Join(dir, "node_modules", "dynalite", "cli.js")
	if _, err := os.Stat(main); err != nil {
		return nil, fmt.Errorf("find dynalite: %w; run tools/install node", err)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("find Node.js: %w; run tools/install system", err)
	}
	addr, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	p, err := StartProcess("dynalite", exec.CommandContext(ctx, node, main, "--host", host, "--port", port, "--createTableMs", "20"))
	if err != nil {
		return nil, err
	}
	d := &Dynalite{Process: p, Endpoint: "http://" + addr}
	wait, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if err := d.Await(wait, d.answers); err != nil {
		_ = d.Kill()
		return nil, err
	}
	return d, nil
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
