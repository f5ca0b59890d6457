package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/audit"
)

// verify runs verify on the stores and returns its exit code and document.
func (c clusterStores) verify(t *testing.T, flags ...string) (int, verifiedCluster) {
	t.Helper()
	r := forebay(t, "", c.args(append([]string{"verify", "-o", "json"}, flags...)...)...)
	var doc verifiedCluster
	require.NoError(t, json.Unmarshal([]byte(r.out), &doc), "%s%s", r.out, r.err)
	return r.code, doc
}

func TestVerifyCluster(t *testing.T) {
	c := makeCluster(t)
	before := state(t, c.dir)
	code, doc := c.verify(t)
	require.Equal(t, exitOK, code)
	require.Empty(t, doc.Findings)
	require.Equal(t, 2, doc.Partitions)
	require.Equal(t, 1, doc.Streams)
	require.Equal(t, int64(6), doc.Records+doc.Unsealed)
	require.Positive(t, doc.Cost.Month)
	require.Equal(t, before, state(t, c.dir), "nothing is written")

	notes := filepath.Join(t.TempDir(), "notes")
	_, again := c.verify(t, "--state", notes)
	require.Equal(t, doc, again)
	_, again = c.verify(t, "--state", notes)
	require.Equal(t, doc, again, "what was read already is reported the same")

	out := succeed(t, "", c.args("verify", "--price-per-gib", "1")...)
	require.Contains(t, out, "is whole")
	require.Regexp(t, `(?m)^events +2 `, out)

	packs, err := filepath.Glob(filepath.Join(c.dir, "*", "wal.d", "*", "*.pack"))
	require.NoError(t, err)
	require.NotEmpty(t, packs)
	flipByte(t, packs[0], 100)
	code, doc = c.verify(t)
	require.Equal(t, exitDamaged, code)
	require.Equal(t, "wal object", doc.Findings[0].Check)
	require.Contains(t, doc.Findings[0].Object, filepath.Base(packs[0]))
	r := forebay(t, "", c.args("verify")...)
	require.Contains(t, r.out, "damage    wal object")
	require.Contains(t, r.err, "is damaged in 1 places")
}

func TestVerifyRefusesWhatRuns(t *testing.T) {
	c := makeCluster(t)
	d := &dataDir{control: kv.NewMem()}
	s, err := session.Open(t.Context(), session.Config{Store: d.control, Node: 7, TTL: 200 * time.Millisecond})
	require.NoError(t, err)
	require.ErrorContains(t, refuseAlive(t.Context(), d, 500*time.Millisecond), "broker 7 is alive")
	items, err := d.control.Query(t.Context(), "sessions", kv.Range{})
	require.NoError(t, err)
	require.Len(t, items, 1)
	require.NoError(t, s.Close(t.Context()))
	require.NoError(t, refuseAlive(t.Context(), d, time.Millisecond))

	c.control(t, func(table kv.Store) { // the item of a broker that was killed
		require.NoError(t, table.Write(t.Context(), kv.Write{Key: items[0].Key, Value: items[0].Value})[0].Err)
	})
	for _, flags := range [][]string{{"--running"}, nil} {
		code, _ := c.verify(t, flags...)
		require.Equal(t, exitOK, code)
	}
}

func TestVerifyClusterUsage(t *testing.T) {
	c := makeCluster(t)
	notes := filepath.Join(t.TempDir(), "notes")
	require.NoError(t, os.WriteFile(notes, []byte("milk\n"), 0o600))
	for _, args := range [][]string{
		{"verify", "--state", notes},
		{"verify", "--object-store", "file://" + c.objects()},
		c.args("verify", "--dir", c.dir),
		c.args("verify", "--price-per-gib", "0"),
		c.args("verify", "--workers", "0"),
		c.args("verify", "--state", notes),
	} {
		r := forebay(t, "", args...)
		require.Equal(t, exitUsage, r.code, "%v: %s", args, r.err)
	}
}

func TestVerifyProgress(t *testing.T) {
	p := &verifyProgress{started: time.Now().Add(-10 * time.Second)}
	text := p.text(audit.Progress{Stage: "objects", Done: 1 << 20, Total: 2 << 20}, true)
	require.Contains(t, text, "[###############...............] 50%, 1.0 MiB of 2.0 MiB, 1")
	require.Contains(t, text, "10s left")
	require.Equal(t, "verifying chains", p.text(audit.Progress{Stage: "chains"}, true))
}
