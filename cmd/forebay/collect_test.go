package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/tiering/collect"
)

// collectDir runs collect on a data directory and returns its exit code and document.
func collectDir(t *testing.T, dir string, args ...string) (int, collect.Report) {
	t.Helper()
	r := forebay(t, "", append([]string{"collect", "--dir", dir, "-o", "json"}, args...)...)
	var doc collect.Report
	require.NoError(t, json.Unmarshal([]byte(r.out), &doc), "%s%s", r.out, r.err)
	return r.code, doc
}

func TestCollectRemovesAnOrphanOfADirectory(t *testing.T) {
	dir := makeDataDir(t)
	orphan := filepath.Join(dir, "objects", "packs.d", "orphan.pack")
	require.NoError(t, os.WriteFile(orphan, []byte("nobody names it"), 0o600))

	code, doc := collectDir(t, dir, "--grace", "1ns")
	require.Equal(t, exitOK, code)
	require.Equal(t, int64(1), doc.Packs.Superfluous.Objects)
	require.Zero(t, doc.Due, "the first look removes nothing")
	_, doc = collectDir(t, dir, "--grace", "1ns", "--dry-run")
	require.Equal(t, int64(1), doc.Due)
	require.FileExists(t, orphan)
	_, doc = collectDir(t, dir, "--grace", "24h")
	require.Zero(t, doc.Due)
	_, doc = collectDir(t, dir, "--grace", "1ns")
	require.Equal(t, collect.Count{Objects: 1, Bytes: 15}, doc.Packs.Removed)
	require.NoFileExists(t, orphan)
	require.Contains(t, succeed(t, "", "collect", "--dir", dir), "removed 0 objects")

	code, whole := verifyDir(t, dir)
	require.Equal(t, exitOK, code)
	require.Empty(t, whole.Findings)
}

func TestCollectRefusesAShortGraceBesideBrokers(t *testing.T) {
	r := forebay(t, "", "collect", "--object-store", "mem://", "--metadata", "bolt://"+filepath.ToSlash(t.TempDir()), "--grace", "10m")
	require.Equal(t, exitUsage, r.code, r.err)
	require.Contains(t, r.err, "--alone")
}
