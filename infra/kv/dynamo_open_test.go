package kv_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
)

func TestDynamoCreateRace(t *testing.T) {
	f := newFakeDynamo(t)
	f.polls = 3
	var openers sync.WaitGroup
	for range 8 {
		openers.Go(func() {
			s, err := kv.OpenDynamoDB(ctx, f.config(kv.DynamoConfig{}))
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	openers.Wait()
	require.Len(t, f.tables, 1)
}

func TestDynamoCannotOpen(t *testing.T) {
	denied := fakeFault{status: 400, code: "AccessDeniedException", message: "User: x is not authorized to perform: dynamodb:DescribeTable"}
	old := fakeFault{status: 400, code: "InvalidSignatureException", message: "Signature expired: 1 is now earlier than 2"}
	for name, c := range map[string]struct {
		faults []fakeFault
		change func(*kv.DynamoConfig, *fakeDynamo)
		want   error
		says   []string
	}{
		"no table":       {want: kv.ErrNoTable, says: []string{"table-x", "create it or pass create=true", "region"}},
		"access denied":  {faults: []fakeFault{denied}, want: kv.ErrAccessDenied, says: []string{"dynamodb:DescribeTable, GetItem"}},
		"unknown client": {faults: []fakeFault{{status: 400, code: "UnrecognizedClientException"}}, want: kv.ErrAccessDenied, says: []string{"check them"}},
		"wrong secret":   {faults: []fakeFault{{status: 400, code: "InvalidSignatureException", message: "The request signature we calculated does not match"}}, want: kv.ErrAccessDenied},
		"clock":          {faults: []fakeFault{old, old, old}, want: kv.ErrClockSkew, says: []string{"NTP"}},
		"wrong keys": {
			change: func(_ *kv.DynamoConfig, f *fakeDynamo) {
				f.tables["table-x"] = &fakeTable{status: "ACTIVE", keys: []string{"id", "sort"}, types: []string{"S", "N"}}
			},
			want: kv.ErrForeign, says: []string{"id S HASH, sort N RANGE", "part S HASH, sort S RANGE"},
		},
		"hash key only": {
			change: func(_ *kv.DynamoConfig, f *fakeDynamo) {
				f.tables["table-x"] = &fakeTable{status: "ACTIVE", keys: []string{"part"}, types: []string{"S"}}
			},
			want: kv.ErrForeign,
		},
		"unreachable": {
			change: func(cfg *kv.DynamoConfig, _ *fakeDynamo) { cfg.Endpoint = closedEndpoint(t) },
			want:   kv.ErrUnreachable, says: []string{"127.0.0.1", "connection refused", "check the region, the endpoint"},
		},
		"no connection in time": {
			change: func(cfg *kv.DynamoConfig, _ *fakeDynamo) {
				cfg.Endpoint, cfg.AttemptTimeout = muteEndpoint(t), 50*time.Millisecond
			},
			want: kv.ErrUnreachable, says: []string{"no connection to https://127.0.0.1", "within 50ms"},
		},
		"no time": {
			change: func(cfg *kv.DynamoConfig, _ *fakeDynamo) {
				cfg.Endpoint, cfg.OpenTimeout = muteEndpoint(t), 50*time.Millisecond
			},
			want: context.DeadlineExceeded, says: []string{"not sent to https://127.0.0.1"},
		},
		"no credentials": {
			change: func(*kv.DynamoConfig, *fakeDynamo) { t.Setenv("AWS_ACCESS_KEY_ID", "") },
			want:   kv.ErrNoCredentials, says: []string{"AWS_ACCESS_KEY_ID"},
		},
		"no region": {
			change: func(cfg *kv.DynamoConfig, _ *fakeDynamo) { cfg.Endpoint = "" },
			says:   []string{"pass region=, or set AWS_REGION"},
		},
		"no endpoint":   {change: func(cfg *kv.DynamoConfig, _ *fakeDynamo) { cfg.Endpoint = "localhost:8000" }, says: []string{"http://127.0.0.1:8000"}},
		"no table name": {change: func(cfg *kv.DynamoConfig, _ *fakeDynamo) { cfg.Table = "a b" }, says: []string{"letters"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeDynamo(t)
			cfg := f.config(kv.DynamoConfig{Table: "table-x", MaxAttempts: 3})
			cfg.Create = false
			if c.change != nil {
				c.change(&cfg, f)
			}
			f.then("DescribeTable", c.faults...)
			_, err := kv.OpenDynamoDB(ctx, cfg)
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			for _, says := range c.says {
				require.ErrorContains(t, err, says)
			}
		})
	}
}

func closedEndpoint(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return "http://" + l.Addr().String()
}

// muteEndpoint is a server that takes connections and never says a word of TLS.
func muteEndpoint(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return "https://" + l.Addr().String()
}

// TestDynamoClockCorrected: the SDK takes the server's time from the refusal, and the request
// that was refused for its time is sent again.
func TestDynamoClockCorrected(t *testing.T) {
	f := newFakeDynamo(t)
	s := f.open(t, kv.DynamoConfig{})
	f.then("PutItem", fakeFault{status: 400, code: "InvalidSignatureException", skew: time.Hour})
	_, err := kv.PutIfAbsent(ctx, s, itemKey(1), nil)
	require.NoError(t, err)
	require.Equal(t, 2, f.count("PutItem"))
}

func TestDynamoOpenInTime(t *testing.T) {
	f := newFakeDynamo(t)
	f.tables["table"] = &fakeTable{status: "CREATING", polls: 1 << 30}
	cfg := f.config(kv.DynamoConfig{})
	cfg.OpenTimeout = 100 * time.Millisecond
	_, err := kv.OpenDynamoDB(ctx, cfg)
	require.ErrorContains(t, err, "CREATING")
}

// TestDynamoCABundle: certificates are checked against AWS_CA_BUNDLE, and HTTP/2 is not used
// although the server has it.
func TestDynamoCABundle(t *testing.T) {
	f := newFakeDynamo(t)
	var protocol atomic.Value
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol.Store(r.Proto)
		f.serve(w, r)
	}))
	secure.EnableHTTP2 = true
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	defer secure.Close()
	cfg := f.config(kv.DynamoConfig{MaxAttempts: 1})
	cfg.Endpoint = secure.URL
	_, err := kv.OpenDynamoDB(ctx, cfg)
	require.ErrorIs(t, err, kv.ErrUnreachable)
	require.ErrorContains(t, err, "certificate")

	bundle := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))
	t.Setenv("AWS_CA_BUNDLE", bundle)
	s, err := kv.OpenDynamoDB(ctx, cfg)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Equal(t, "HTTP/1.1", protocol.Load())
}

func TestParseDynamoURL(t *testing.T) {
	for raw, want := range map[string]kv.DynamoConfig{
		"dynamodb://forebay":                      {Table: "forebay"},
		"dynamodb://My_prefix.1/?create=1":        {Table: "My_prefix.1", Create: true},
		"dynamodb://f?region=&create=false":       {Table: "f"},
		"dynamodb://f?region=eu-west-1":           {Table: "f", Region: "eu-west-1"},
		"dynamodb://f?endpoint=http://[::1]:8000": {Table: "f", Endpoint: "http://[::1]:8000"},
	} {
		got, err := kv.ParseDynamoURL(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
	}
	for raw, says := range map[string]string{
		"dynamodb://f?regoin=x":           `unknown parameter "regoin", known are: create, endpoint, region`,
		"dynamodb://f?create=maybe":       "want true or false",
		"dynamodb://f?region=a&region=b":  "2 times",
		"dynamodb://f?endpoint=localhost": "want a URL",
		"dynamodb://":                     "dynamodb://table-prefix",
		"dynamodb://f/path":               "dynamodb://table-prefix",
		"dynamodb://user:secret@f":        "dynamodb://table-prefix",
		"bolt:///f":                       "dynamodb://table-prefix",
		"dynamodb://f%zz":                 "invalid URL escape",
		"dynamodb://f:1/":                 "letters",
		"dynamodb://f?region=%zz":         "invalid URL escape",
	} {
		_, err := kv.ParseDynamoURL(raw)
		require.ErrorContains(t, err, says, raw)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestOpenDynamoTables(t *testing.T) {
	f := newFakeDynamo(t)
	cfg, err := kv.ParseDynamoURL(fmt.Sprintf("dynamodb://cluster?endpoint=%s&create=true", f.URL))
	require.NoError(t, err)
	control, offsets, err := kv.OpenDynamoTables(ctx, cfg)
	require.NoError(t, err)
	fill(t, control, 1)
	fill(t, offsets, 1)
	require.NoError(t, control.Close())
	require.NoError(t, offsets.Close())
	require.Contains(t, f.tables, "cluster-control")
	require.Contains(t, f.tables, "cluster-offsets")

	delete(f.tables, "cluster-offsets")
	cfg.Create = false
	_, _, err = kv.OpenDynamoTables(ctx, cfg)
	require.ErrorIs(t, err, kv.ErrNoTable)
	require.ErrorContains(t, err, "cluster-offsets")
}
