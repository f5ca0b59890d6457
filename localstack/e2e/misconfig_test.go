//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// services are an object store that insists on its region, and tables.
type services struct {
	store *rig.MinIO
	table string // URL of the endpoint
}

const storeRegion = "eu-north-1"

func ownServices(t *testing.T) services {
	t.Helper()
	s := services{table: ownDynalite(t).Endpoint}
	var err error
	s.store, err = rig.MinIOConfig{Binary: os.Getenv("FOREBAY_MINIO"), Dir: t.TempDir(), Region: storeRegion}.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := s.store.Kill(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// s3, minio and tables are URLs of a cluster of this name.
func (s services) s3(name string) string { return s.store.S3URL(name) + "&region=" + storeRegion }

func (s services) minio(name string) string { return s.store.URL(name) + "?region=" + storeRegion }

func (s services) tables(name string) string {
	return "dynamodb://" + name + "?region=us-east-1&create=true&endpoint=" + s.table
}

// broker is a broker on these, with a directory of its own.
func (s services) broker(t *testing.T, objects, tables string, args ...string) rig.ForebayConfig {
	t.Helper()
	return rig.ForebayConfig{
		Binary: forebay, Env: append(slices.Clone(rig.DynaliteEnv), s.store.Env()...),
		Command: append([]string{"broker", "--data-dir", filepath.Join(t.TempDir(), "data"), "--object-store", objects, "--metadata", tables}, args...),
	}
}

// A broker that was told something wrong does not start, and says what to do.
func TestRefusesWrongURLs(t *testing.T) {
	s := ownServices(t)
	elsewhere := func(url, old, with string) string {
		require.Contains(t, url, old)
		return strings.ReplaceAll(url, old, with)
	}
	free, err := rig.FreeAddr()
	require.NoError(t, err)
	good, objects := s.tables("urls"), s.s3("urls")
	for _, c := range []struct {
		name, objects, tables string
		words                 []string
	}{
		{"no object store", "", good, []string{"--object-store and --metadata are needed", "forebay dev"}},
		{"no tables", objects, "", []string{"--object-store and --metadata are needed"}},
		{"unknown scheme", "gs://bucket", good, []string{`unknown scheme "gs", known are s3, minio, file, mem`}},
		{"unknown scheme of tables", objects, "postgres://db", []string{`unknown scheme "postgres": use dynamodb://table-prefix`}},
		{"unknown parameter", objects + "&regoin=x", good, []string{`unknown parameter "regoin", known for s3 are: region, endpoint, path-style`}},
		{"unknown parameter of tables", objects, good + "&regoin=x", []string{`unknown parameter "regoin", known are: create, endpoint, region`}},
		{"password in URL", "s3://key:hidden@bucket", good, []string{"holds credentials, set them in the environment"}},
		{"S3 bucket", elsewhere(objects, "//forebay/", "//nowhere/"), good, []string{"nowhere", "create it or correct its name"}},
		{"MinIO bucket", elsewhere(s.minio("urls"), "/forebay/", "/nowhere/"), good, []string{"nowhere", "create it or correct its name"}},
		{"S3 region", elsewhere(objects, storeRegion, "us-west-2"), good, []string{"region=" + storeRegion}},
		{"MinIO region", elsewhere(s.minio("urls"), storeRegion, "us-west-2"), good, []string{"region=" + storeRegion}},
		{"no such store", elsewhere(objects, s.store.Addr, free), good, []string{free, "check the endpoint"}},
		{"no such tables", objects, elsewhere(good, strings.TrimPrefix(s.table, "http://"), free), []string{free, "connection refused"}},
		{"tables missing", objects, elsewhere(s.tables("missing"), "&create=true", ""), []string{"missing-", "create=true"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			said := requireRefused(t, s.broker(t, c.objects, c.tables), c.words...)
			require.NotContains(t, said, "hidden")
		})
	}
}

func TestRefusesWithoutRights(t *testing.T) {
	s := ownServices(t)
	for name, objects := range map[string]string{"s3": s.s3("rights"), "minio": s.minio("rights")} {
		t.Run(name, func(t *testing.T) {
			wrong := s.broker(t, objects, s.tables("rights"))
			wrong.Env = append(wrong.Env, "AWS_SECRET_ACCESS_KEY=wrong", "MINIO_SECRET_KEY=wrong")
			requireRefused(t, wrong, "correct the access key and its secret")

			readOnly := s.broker(t, objects, s.tables("rights"))
			readOnly.Env = append(slices.Clone(rig.DynaliteEnv), assumeReadOnly(t, s.store)...)
			requireRefused(t, readOnly, "no access to bucket", "s3:PutObject")
		})
	}
	none := s.broker(t, s.s3("rights"), s.tables("rights"))
	none.Env = append(none.Env, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=")
	requireRefused(t, none, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
}

// The parts of two clusters are not mixed.
func TestRefusesAnotherClustersParts(t *testing.T) {
	s := ownServices(t)
	for _, name := range []string{"one", "two"} {
		node, err := rig.StartForebay(t.Context(), s.broker(t, s.s3(name), s.tables(name)))
		require.NoError(t, err)
		endWith(t, node)
		_, err = node.Stop(leaveLimit)
		require.NoError(t, err)
	}
	requireRefused(t, s.broker(t, s.s3("one"), s.tables("two")), "the object store belongs to another cluster", "check --object-store, --wal-store and --metadata")
	requireRefused(t, s.broker(t, s.minio("two"), s.tables("one")), "the object store belongs to another cluster")
	requireRefused(t, s.broker(t, s.s3("one"), s.tables("three")), "the object store belongs to another cluster")
}

func TestRefusesTakenIdentity(t *testing.T) {
	s := ownServices(t)
	cfg := s.broker(t, s.s3("id"), s.tables("id"), "--node-id", "7")
	node, err := rig.StartForebay(t.Context(), cfg)
	require.NoError(t, err)
	endWith(t, node)
	requireRefused(t, s.broker(t, s.s3("id"), s.tables("id"), "--node-id", "7"), "is alive as node 7", "choose another node id")
	requireRefused(t, rig.ForebayConfig{Env: cfg.Env, Command: append(slices.Clone(cfg.Command), "--node-id", "8")}, "another forebay uses it")
	requireServes(t, node)
}

// Services whose clock is another refuse what is signed.
func TestRefusesWrongClock(t *testing.T) {
	s := ownServices(t)
	const says = "The difference between the request time and the server's time is too large."
	store := answering(t, "http://"+s.store.Addr, http.StatusForbidden, "application/xml",
		"<Error><Code>RequestTimeTooSkewed</Code><Message>"+says+"</Message></Error>")
	table := answering(t, s.table, http.StatusBadRequest, "application/x-amz-json-1.0",
		`{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"Signature expired: 20200101T000000Z is now earlier than 20200101T001000Z (20200101T001500Z - 5 min.)"}`)
	for name, objects := range map[string]string{"s3": s.s3("clock"), "minio": s.minio("clock")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireRefused(t, s.broker(t, strings.ReplaceAll(objects, s.store.Addr, store), s.tables("clock-"+name)), "clock", "NTP")
		})
	}
	t.Run("tables", func(t *testing.T) {
		t.Parallel()
		tables := strings.ReplaceAll(s.tables("clock"), strings.TrimPrefix(s.table, "http://"), table)
		requireRefused(t, s.broker(t, s.s3("clock-tables"), tables), "clock", "NTP")
	})
}

// answering is the address of a proxy that gives requests with a signature this answer.
func answering(t *testing.T, upstream string, status int, contentType, body string) string {
	t.Helper()
	target, err := url.Parse(upstream)
	require.NoError(t, err)
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			pass.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprint(w, body)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}
