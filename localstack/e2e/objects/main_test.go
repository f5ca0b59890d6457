//go:build e2e

package objects

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/localstack/rig"
)

var server *rig.MinIO

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "forebay-minio-")
	if err != nil {
		return cannot(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if server, err = rig.StartMinIO(context.Background(), os.Getenv("FOREBAY_MINIO"), dir); err != nil {
		return cannot(err)
	}
	code := m.Run()
	if _, err := server.Stop(10 * time.Second); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s\n", err, server.Output())
		code = 1
	}
	return code
}

func cannot(err error) int {
	fmt.Fprintln(os.Stderr, "e2e cannot start:", err)
	return 1
}

// driver opens a bucket of the server at addr.
type driver func(t *testing.T, addr, bucket, prefix string, cfg objstore.RemoteConfig) objstore.Store

var drivers = map[string]driver{
	"minio": func(t *testing.T, addr, bucket, prefix string, cfg objstore.RemoteConfig) objstore.Store {
		s, err := objstore.OpenMinIO(t.Context(), objstore.MinIOConfig{Address: addr, Bucket: bucket, Prefix: prefix, RemoteConfig: cfg})
		require.NoError(t, err)
		return s
	},
	"s3": func(t *testing.T, addr, bucket, prefix string, cfg objstore.RemoteConfig) objstore.Store {
		s, err := objstore.OpenS3(t.Context(), objstore.S3Config{
			Bucket: bucket, Prefix: prefix, Region: "us-east-1", Endpoint: "http://" + addr, PathStyle: true, RemoteConfig: cfg,
		})
		require.NoError(t, err)
		return s
	},
}

// withDrivers runs a test with each driver.
func withDrivers(t *testing.T, test func(t *testing.T, open driver)) {
	for name, open := range drivers {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// keys is a configuration with the server's credentials.
func keys() objstore.RemoteConfig {
	return objstore.RemoteConfig{AccessKey: server.AccessKey, SecretKey: server.SecretKey, Backoff: time.Millisecond}
}

// fresh is a prefix that nothing has been put below.
func fresh() string { return "test/" + strings.ToLower(rand.Text()) }

// openFresh opens an empty store through addr, closed at the end of the test.
func openFresh(t *testing.T, open driver, addr string, cfg objstore.RemoteConfig) objstore.Store {
	s := open(t, addr, rig.MinIOBucket, fresh(), cfg)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}
