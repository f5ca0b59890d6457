package rig

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Node is a running broker, Forebay or Apache Kafka.
type Node struct {
	*Process
	// Addr is the address that Kafka clients connect to.
	Addr string
	// Admin is the address of Forebay's /readyz and /metrics; empty for Apache Kafka.
	Admin string
	// Dir is the data directory.
	Dir string

	ready func(context.Context) error
}

// AwaitReady waits until the broker says that it serves clients.
func (n *Node) AwaitReady(ctx context.Context) error { return n.Await(ctx, n.ready) }

// ForebayConfig says how to start Forebay.
type ForebayConfig struct {
	Binary string   // path of the built binary
	Dir    string   // data directory
	Addr   string   // Kafka address; a free one if empty
	Admin  string   // admin address; a free one if empty
	HTTP   string   // address for events over HTTP; none if empty
	Env    []string // added to the environment, NAME=value
	Args   []string // added to the command line
	Wrap   []string // a command that ends by executing what follows it; none if empty
	// Command is the subcommand with the flags that only it has, forebay dev on Dir if empty.
	Command []string
	Name    string // by which messages call it; default forebay
	Attachment
}

// Root returns the directory of the checkout, which the working directory is in.
func Root(ctx context.Context) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module's root: %w", err)
	}
	return strings.TrimSpace(string(root)), nil
}

// BuildForebay builds the binary into the directory out, with flags for go build, and returns its path.
func BuildForebay(ctx context.Context, out string, flags ...string) (string, error) {
	root, err := Root(ctx)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(out, "forebay")
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build", "-o", binary}, flags, []string{"./cmd/forebay"})...)
	cmd.Dir = root
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build forebay: %w\n%s", err, said)
	}
	return binary, nil
}

// LaunchForebay starts a broker and returns without waiting until it is ready.
func LaunchForebay(ctx context.Context, cfg ForebayConfig) (*Node, error) {
	for _, addr := range []*string{&cfg.Addr, &cfg.Admin} {
		if *addr == "" {
			free, err := FreeAddr()
			if err != nil {
				return nil, err
			}
			*addr = free
		}
	}
	command := cfg.Command
	if len(command) == 0 {
		command = []string{"dev", "--dir", cfg.Dir}
	}
	line := slices.Concat(cfg.Wrap, []string{cfg.Binary}, command, []string{"--kafka-addr", cfg.Addr, "--admin-addr", cfg.Admin}, cfg.Args)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(append(os.Environ(), "FOREBAY_HTTP_ADDR="+cfg.HTTP), cfg.Env...)
	p, err := cfg.start(cmp.Or(cfg.Name, "forebay"), cmd)
	if err != nil {
		return nil, err
	}
	n := &Node{Process: p, Addr: cfg.Addr, Admin: cfg.Admin, Dir: cfg.Dir}
	n.ready = n.readyz
	return n, nil
}

// StartForebay starts a broker and waits until it is ready.
func StartForebay(ctx context.Context, cfg ForebayConfig) (*Node, error) {
	return started(ctx)(LaunchForebay(ctx, cfg))
}

// readyLimit is how long a broker may take to get ready before it counts as broken.
const readyLimit = time.Minute

func started(ctx context.Context) func(*Node, error) (*Node, error) {
	return func(n *Node, err error) (*Node, error) {
		if err != nil {
			return nil, err
		}
		wait, cancel := context.WithTimeout(ctx, readyLimit)
		defer cancel()
		if err := n.AwaitReady(wait); err != nil {
			_ = n.Kill()
			return nil, err
		}
		return n, nil
	}
}

func (n *Node) readyz(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // it is asked again
	defer cancel()
	_, err := n.get(ctx, "/readyz")
	return err
}

// Metrics returns what the broker's /metrics says.
func (n *Node) Metrics(ctx context.Context) (string, error) { return n.get(ctx, "/metrics") }

func (n *Node) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Admin+path, nil)
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", path, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask %s: %s: %s", path, resp.Status, body)
	}
	return string(body), nil
}
