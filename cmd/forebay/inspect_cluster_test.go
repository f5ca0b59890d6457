package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/wal"
)

// clusterStores are the stores of a cluster of one broker that has run and is stopped.
type clusterStores struct{ dir string }

func (c clusterStores) objects() string { return filepath.Join(c.dir, "objects") }
func (c clusterStores) wal() string     { return filepath.Join(c.dir, "wal") }
func (c clusterStores) tables() string  { return filepath.Join(c.dir, "tables") }

// args are the flags that name the stores.
func (c clusterStores) args(more ...string) []string {
	return append(more, "--object-store", "file://"+c.objects(), "--wal-store", "file://"+c.wal(), "--metadata", "bolt://"+c.tables())
}

// control opens the control table, as a broker does.
func (c clusterStores) control(t *testing.T, f func(kv.Store)) {
	t.Helper()
	table, err := kv.OpenBolt(filepath.Join(c.tables(), controlFile), kv.BoltOptions{})
	require.NoError(t, err)
	f(table)
	require.NoError(t, table.Close())
}

func makeCluster(t *testing.T) clusterStores {
	t.Helper()
	c := clusterStores{t.TempDir()}
	broker := start(t, c.args("broker", "--kafka-addr", "127.0.0.1:0", "--admin-addr", "", "--data-dir", filepath.Join(c.dir, "data"))...)
	t.Setenv("FOREBAY_BROKERS", broker.out.await(t, `ready on (\S+)\.\n`)[1])
	succeed(t, "", "topic", "create", "events", "--partitions", "2")
	for i := range 3 {
		succeed(t, fmt.Sprintf("first of %d\nsecond of %d\n", i, i), "produce", "events")
	}
	require.Equal(t, exitOK, broker.stop(t), broker.err)
	return c
}

// state is all that there is below a directory: names, sizes and times.
func state(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	require.NoError(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Base(name) == lockFile {
			return err
		}
		info, err := e.Info()
		if err == nil {
			fmt.Fprintln(&all, name, info.Size(), info.ModTime().UnixNano())
		}
		return err
	}))
	return all.String()
}

func TestInspectCluster(t *testing.T) {
	c := makeCluster(t)
	document := func(into any, args ...string) {
		t.Helper()
		require.NoError(t, json.Unmarshal([]byte(succeed(t, "", c.args(append(args, "-o", "json")...)...)), into))
	}
	before := state(t, c.dir)

	var meta shownMetalog
	document(&meta, "inspect", "metalog")
	require.Equal(t, 1, meta.Brokers)
	require.GreaterOrEqual(t, meta.Topics, 1)
	var links []shownLink
	document(&links, "inspect", "chain")

	var streams []shownStream
	document(&streams, "inspect", "stream", "--all", "--runs")
	require.Len(t, streams, 1)
	s := streams[0]
	require.Equal(t, int32(1), *s.Node)
	require.False(t, s.Fenced)
	require.NotEmpty(t, s.Slots, "the last slot stays")
	for i, slot := range s.Slots {
		require.Equal(t, s.First+uint64(i), slot.Slot)
		for _, o := range slot.Objects {
			require.Contains(t, o.Name, "wal/"+s.Session)
			require.NotEmpty(t, o.Runs)
		}
	}
	last := s.Slots[len(s.Slots)-1]
	require.Equal(t, "events", last.Objects[0].Runs[0].Topic)
	text := succeed(t, "", c.args("inspect", "stream", s.Session, "--runs")...)
	require.Contains(t, text, "Session "+s.Session+" of node 1, slots from")
	require.Contains(t, text, last.Objects[0].Name)
	require.Contains(t, text, "events-")

	var sessions []shownSession
	document(&sessions, "inspect", "sessions")
	require.Equal(t, []shownSession{{Session: s.Session, Node: 1, Broker: "fenced", Stream: true}}, sessions)
	require.Equal(t, before, state(t, c.dir), "nothing is changed")
}

// TestInspectSessions: of a broker that is there, of one that renews while it is watched, and of a stream that is fenced.
func TestInspectSessions(t *testing.T) {
	c := makeCluster(t)
	own := id.NewSession()
	c.control(t, func(table kv.Store) {
		s, err := session.Open(context.Background(), session.Config{Store: table, Node: 7, ID: own, Info: "elsewhere:9092"})
		require.NoError(t, err)
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		require.Error(t, s.Close(ended), "its item stays")
		_, err = wal.Fence(context.Background(), wal.Slots(table, own), 3)
		require.NoError(t, err)
	})
	text := succeed(t, "", c.args("inspect", "sessions", "--watch", "1ms")...)
	require.Regexp(t, `(?m)^ *7 +`+own.String()+` +yes +no +unknown +no +elsewhere:9092`, text)
	require.Regexp(t, `(?m)^ *1 +\S+ +no +- +fenced +yes`, text)
	require.Contains(t, succeed(t, "", c.args("inspect", "stream", "--all")...), "fenced by node 3")

	c.control(t, func(table kv.Store) {
		s, err := session.Open(context.Background(), session.Config{Store: table, Node: 8, TTL: 40 * time.Millisecond})
		require.NoError(t, err)
		seen, renewed, err := watchSessions(context.Background(), table, 300*time.Millisecond)
		require.NoError(t, err)
		require.Len(t, seen, 2)
		require.False(t, *renewed[0])
		require.True(t, *renewed[1])
		require.NoError(t, s.Close(context.Background()))
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_, _, err = watchSessions(ended, table, time.Hour)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestInspectDamagedStream(t *testing.T) {
	c := makeCluster(t)
	var streams []shownStream
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "", c.args("inspect", "stream", "--all", "-o", "json")...)), &streams))
	s := streams[0]
	next := s.Slots[len(s.Slots)-1].Slot + 1
	c.control(t, func(table kv.Store) {
		require.NoError(t, wal.Slots(table, id.Session(s.Session)).Append(context.Background(), next, []byte("{}")))
	})
	r := forebay(t, "", c.args("inspect", "stream", s.Session)...)
	require.Equal(t, exitDamaged, r.code)
	require.Contains(t, r.err, fmt.Sprintf("slot %d", next))
	require.Contains(t, r.out, s.Slots[0].Objects[0].Name, "what can be read is shown")

	require.NoError(t, os.RemoveAll(c.wal()))
	require.NoError(t, os.Mkdir(c.wal(), 0o755))
	r = forebay(t, "", c.args("inspect", "stream", s.Session, "--runs")...)
	require.Equal(t, exitDamaged, r.code)
	require.Contains(t, r.err, "object not found")
}

func TestInspectSourceMistakes(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "go together", []string{"inspect", "metalog", "--metadata", "bolt://" + dir}},
		{exitUsage, "unknown scheme", []string{"inspect", "chain", "--metadata", "redis://x", "--object-store", "mem://"}},
		{exitUsage, "want bolt:///directory", []string{"inspect", "chain", "--metadata", "bolt://x", "--object-store", "mem://"}},
		{exitUsage, "name a session", []string{"inspect", "stream"}},
		{exitUsage, "name a session", []string{"inspect", "stream", "x", "--all"}},
		{exitFailed, "not a Forebay data directory", []string{"inspect", "sessions", "--metadata", "bolt://" + dir, "--object-store", "mem://"}},
	} {
		r := forebay(t, "", c.args...)
		require.Equal(t, c.code, r.code, "%v: %s", c.args, r.err)
		require.Contains(t, r.err, c.says)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is made")

	c := makeCluster(t)
	r := forebay(t, "", "inspect", "metalog", "--metadata", "bolt://"+c.tables(), "--object-store", "file://"+filepath.Join(dir, "none"))
	require.Equal(t, exitFailed, r.code)
	require.NoDirExists(t, filepath.Join(dir, "none"))
	require.Equal(t, exitFailed, forebay(t, "", c.args("inspect", "stream", "no-such-session")...).code)
	for _, what := range []string{"sessions", "stream --all"} { // of a node alone there are none
		args := append([]string{"inspect"}, strings.Fields(what)...)
		require.NotEmpty(t, succeed(t, "", append(args, "--dir", makeDataDir(t))...))
	}
}
