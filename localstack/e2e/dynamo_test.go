//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/kv/kvtest"
	"github.com/forebaylog/forebay/localstack/rig"
)

// ownDynalite is a DynamoDB for one test, ended with it. The AWS SDK of this process
// finds credentials for it.
func ownDynalite(t *testing.T) *rig.Dynalite {
	t.Helper()
	for _, v := range rig.DynaliteEnv {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	d, err := rig.StartDynalite(t.Context(), os.Getenv("FOREBAY_NODE"))
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := d.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("output of dynalite:\n%s", d.Output())
		}
	})
	return d
}

// TestDynamoDB runs the conformance suite, each part of it on a table of its own.
func TestDynamoDB(t *testing.T) {
	endpoint, tables := ownDynalite(t).Endpoint, 0
	kvtest.Run(t, func(t *testing.T) kv.Store {
		tables++
		s, err := kv.OpenDynamoDB(t.Context(), kv.DynamoConfig{
			Table: fmt.Sprintf("conformance-%d", tables), Endpoint: endpoint, Create: true,
			AttemptTimeout: 20 * time.Second, // a busy machine is no lost reply
		})
		require.NoError(t, err)
		return s
	})
}

// TestDynamoDBTables opens the tables of a cluster from a URL, from several processes' worth
// of openers at once, and probes them.
func TestDynamoDBTables(t *testing.T) {
	endpoint := ownDynalite(t).Endpoint
	cfg, err := kv.ParseDynamoURL("dynamodb://cluster?create=true&region=eu-central-1&endpoint=" + endpoint)
	require.NoError(t, err)
	var units atomic.Uint64
	cfg.Observe = func(r kv.Request) { units.Add(uint64(r.ReadUnits + r.WriteUnits)) }
	var opening sync.WaitGroup
	for range 5 {
		opening.Go(func() {
			control, offsets, err := kv.OpenDynamoTables(t.Context(), cfg)
			if err != nil {
				t.Error(err)
				return
			}
			for _, s := range []kv.Store{control, offsets} {
				if err := kv.Probe(t.Context(), s); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	opening.Wait()
	require.NotZero(t, units.Load())

	_, err = kv.OpenDynamoDB(t.Context(), kv.DynamoConfig{Table: "absent", Endpoint: endpoint})
	require.ErrorIs(t, err, kv.ErrNoTable)
}
