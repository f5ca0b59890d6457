package rig

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/forebaylog/forebay/infra/objstore"
)

// MinIOBucket is the bucket that StartMinIO makes.
const MinIOBucket = "forebay"

// MinIO is a running MinIO server with one bucket.
type MinIO struct {
	*Process
	Addr                 string // host:port
	AccessKey, SecretKey string // of this server only
	Region               string // that it insists on
	Console              string // host:port of its console; empty without one
}

// MinIOConfig says how to start a MinIO server.
type MinIOConfig struct {
	Binary               string // path of the server, as `tools/install minio` makes it
	Dir                  string // of its objects
	Addr                 string // a free loopback one if empty
	Console              string // address of its console in the browser; switched off if empty
	AccessKey, SecretKey string // made up if empty
	Region               string // us-east-1 if empty
	Attachment
}

// StartMinIO starts the server binary on dir, at a free loopback port and with
// credentials of its own, and waits until it serves and has the bucket.
func StartMinIO(ctx context.Context, binary, dir string) (*MinIO, error) {
	return MinIOConfig{Binary: binary, Dir: dir}.Start(ctx)
}

// Start starts the server and waits until it serves and has the bucket.
func (cfg MinIOConfig) Start(ctx context.Context) (*MinIO, error) {
	if cfg.Binary == "" {
		return nil, fmt.Errorf("start MinIO: no binary, set FOREBAY_MINIO to \"$(tools/install minio)/minio\"")
	}
	browser, console := "on", cfg.Console
	if console == "" {
		browser = "off"
	}
	for _, addr := range []*string{&cfg.Addr, &console} {
		if *addr != "" {
			continue
		}
		var err error
		if *addr, err = FreeAddr(); err != nil {
			return nil, err
		}
	}
	m := &MinIO{
		Addr: cfg.Addr, Console: cfg.Console, Region: cmp.Or(cfg.Region, "us-east-1"),
		AccessKey: cmp.Or(cfg.AccessKey, strings.ToLower(rand.Text()[:16])), SecretKey: cmp.Or(cfg.SecretKey, rand.Text()),
	}
	cmd := exec.CommandContext(ctx, cfg.Binary, "server", "--quiet", "--address", cfg.Addr, "--console-address", console, cfg.Dir)
	cmd.Env = append(os.Environ(),
		"MINIO_ROOT_USER="+m.AccessKey, "MINIO_ROOT_PASSWORD="+m.SecretKey,
		"MINIO_SITE_REGION="+m.Region,       // or it takes any
		"MINIO_PROMETHEUS_AUTH_TYPE=public", // its counters, for benchmarks that hold ours against them
		"MINIO_BROWSER="+browser, "MINIO_UPDATE=off")
	var err error
	if m.Process, err = cfg.start("minio", cmd); err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if err := m.Await(wait, m.ready); err != nil {
		_ = m.Kill()
		return nil, err
	}
	return m, nil
}

// Backend starts the server as what the objects of a cluster are in.
func (cfg MinIOConfig) Backend(ctx context.Context, dir string) (*Backend, error) {
	cfg.Dir = dir
	m, err := cfg.Start(ctx)
	if err != nil {
		return nil, err
	}
	return m.Backend(), nil
}

// Backend returns the server as what the objects of a cluster are in.
func (m *MinIO) Backend() *Backend {
	return &Backend{Addr: m.Addr, Env: m.Env(), Process: m.Process, Close: m.Kill}
}

// ready asks whether the server lives and makes the bucket, which it refuses until it is ready.
func (m *MinIO) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Addr+"/minio/health/live", nil)
	if err != nil {
		return fmt.Errorf("ask MinIO whether it lives: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask MinIO whether it lives: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask MinIO whether it lives: %s", resp.Status)
	}
	return objstore.CreateBucket(ctx, objstore.MinIOConfig{
		Address: m.Addr, Bucket: MinIOBucket, Region: m.Region, RemoteConfig: objstore.RemoteConfig{AccessKey: m.AccessKey, SecretKey: m.SecretKey},
	})
}

// URL returns the URL for MinIO's SDK of a prefix in the bucket.
func (m *MinIO) URL(prefix string) string {
	return "minio://" + m.Addr + "/" + MinIOBucket + "/" + prefix
}

// S3URL returns the URL for the AWS SDK of a prefix in the bucket.
func (m *MinIO) S3URL(prefix string) string {
	return "s3://" + MinIOBucket + "/" + prefix + "?path-style=true&endpoint=http://" + m.Addr
}

// Env is what a process needs in its environment to open either URL, NAME=value.
func (m *MinIO) Env() []string {
	return []string{
		"MINIO_ACCESS_KEY=" + m.AccessKey, "MINIO_SECRET_KEY=" + m.SecretKey,
		"AWS_ACCESS_KEY_ID=" + m.AccessKey, "AWS_SECRET_ACCESS_KEY=" + m.SecretKey,
	}
}
