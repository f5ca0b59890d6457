package rig

import (
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
}

// StartMinIO starts the server binary on dir, at a free loopback port and with
// credentials of its own, and waits until it serves and has the bucket.
func StartMinIO(ctx context.Context, binary, dir string) (*MinIO, error) {
	if binary == "" {
		return nil, fmt.Errorf("start MinIO: no binary, set FOREBAY_MINIO to \"$(tools/install minio)/minio\"")
	}
	addr, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	console, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	m := &MinIO{Addr: addr, AccessKey: strings.ToLower(rand.Text()[:16]), SecretKey: rand.Text()}
	cmd := exec.CommandContext(ctx, binary, "server", "--quiet", "--address", addr, "--console-address", console, dir)
	cmd.Env = append(os.Environ(),
		"MINIO_ROOT_USER="+m.AccessKey, "MINIO_ROOT_PASSWORD="+m.SecretKey,
		"MINIO_SITE_REGION=us-east-1",       // or it takes any
		"MINIO_PROMETHEUS_AUTH_TYPE=public", // its counters, for benchmarks that hold ours against them
		"MINIO_BROWSER=off", "MINIO_UPDATE=off")
	if m.Process, err = StartProcess("minio", cmd); err != nil {
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
		Address: m.Addr, Bucket: MinIOBucket, RemoteConfig: objstore.RemoteConfig{AccessKey: m.AccessKey, SecretKey: m.SecretKey},
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
