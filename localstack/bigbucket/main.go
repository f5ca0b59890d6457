// Command bigbucket makes the objects and tables of a large log in a directory, with real packs,
// chains, a WAL stream, group offsets and some garbage, and measures on it what has to look
// at all of them: forebay verify, a look of the collector, and a broker's start. It does so
// at two sizes, one ten times the other, and prints how time and memory grow.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/localstack/rig"
	"github.com/forebaylog/forebay/tiering/collect"
)

type config struct {
	runs, offsets int
	dir, binary   string
	look          string // do nothing but a look of the collector on a bucket
}

// tenth is how much smaller the smaller bucket is.
const tenth = 10

func main() {
	var cfg config
	flag.IntVar(&cfg.runs, "runs", 100_000, "sealed runs of the larger bucket")
	flag.IntVar(&cfg.offsets, "offsets", 1_000_000, "committed offsets of the larger bucket")
	flag.StringVar(&cfg.dir, "dir", "", "where to make the buckets, each of which is removed in the end; some 5 KB for a run and 1 KB for an offset (default: a temporary directory)")
	flag.StringVar(&cfg.binary, "binary", "", "forebay to measure (default: built)")
	flag.StringVar(&cfg.look, "look", "", "only look once with the collector at the bucket in this directory")
	flag.Parse()
	do := run
	if cfg.look != "" {
		do = look
	}
	rig.Main("bigbucket", func(ctx context.Context) error { return do(ctx, cfg) })
}

// measured is what a step took.
type measured struct {
	name string
	took time.Duration
	peak int64 // bytes of resident memory that is the process's own; of a broker, once it is ready
}

func run(ctx context.Context, cfg config) (err error) {
	dir, err := os.MkdirTemp(cfg.dir, "bigbucket-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if cfg.binary, err = rig.Forebay(ctx, cfg.binary, dir); err != nil {
		return err
	}
	var small []measured
	for _, part := range []int{tenth, 1} {
		bucket := filepath.Join(dir, fmt.Sprintf("bucket-%d", part))
		list, err := measure(ctx, cfg, bucket, cfg.runs/part, cfg.offsets/part)
		if err = errors.Join(err, os.RemoveAll(bucket)); err != nil {
			return err
		}
		for i, m := range list {
			fmt.Printf("  %-28s %8.2f s  %8s", m.name, m.took.Seconds(), humanize.IBytes(uint64(m.peak)))
			if small != nil {
				fmt.Printf("   time x %.1f, memory x %.1f", m.took.Seconds()/small[i].took.Seconds(), float64(m.peak)/float64(small[i].peak))
			}
			fmt.Println()
		}
		small = list
	}
	return nil
}

// measure makes a bucket and measures each step on it.
func measure(ctx context.Context, cfg config, bucket string, runs, offsets int) ([]measured, error) {
	began := time.Now()
	if err := generate(ctx, bucket, runs, offsets); err != nil {
		return nil, err
	}
	objects, size, err := sizeOf(filepath.Join(bucket, "objects"))
	if err != nil {
		return nil, err
	}
	_, tables, err := sizeOf(filepath.Join(bucket, "tables"))
	if err != nil {
		return nil, err
	}
	fmt.Printf("%d runs, %d committed offsets: %d objects of %s, tables of %s, made in %.0f s\n",
		runs, offsets, objects, humanize.IBytes(uint64(size)), humanize.IBytes(uint64(tables)), time.Since(began).Seconds())
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	stores := []string{"--object-store", "file://" + filepath.Join(bucket, "objects"), "--metadata", "bolt://" + filepath.Join(bucket, "tables")}
	notes := filepath.Join(bucket, "notes")
	var list []measured
	for _, step := range []struct {
		name    string
		command []string
	}{
		{"verify", append([]string{cfg.binary, "verify", "-o", "json", "--state", notes}, stores...)},
		{"verify again, with its notes", append([]string{cfg.binary, "verify", "-o", "json", "--state", notes}, stores...)},
		{"a look of the collector", []string{self, "-look", bucket}},
	} {
		m, err := command(ctx, step.name, step.command)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	m, err := coldStart(ctx, cfg, bucket, stores)
	return append(list, m), err
}

// sizeOf counts the files below a directory, and their bytes.
func sizeOf(dir string) (files int, size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			files++
			size += info.Size()
		}
		return err
	})
	return files, size, err
}

// peakEvery is how often the memory of a command is looked at.
const peakEvery = 10 * time.Millisecond

// command runs a command, which must succeed, and looks at its memory while it runs.
func command(ctx context.Context, name string, line []string) (measured, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	m, began := measured{name: name}, time.Now()
	if err := cmd.Start(); err != nil {
		return m, fmt.Errorf("%s: %w", name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(peakEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if m.took = time.Since(began); err != nil {
				return m, fmt.Errorf("%s: %w\n%s", name, err, out.Bytes()[max(0, out.Len()-2000):])
			}
			return m, nil
		case <-tick.C:
			if own, err := ownMemory(cmd.Process.Pid); err == nil { // else it has just ended
				m.peak = max(m.peak, own)
			}
		}
	}
}

// ownMemory is what a process has in memory and that is no file: tables are mapped, and what was
// read of them counts as resident until the system takes it back.
func ownMemory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(status)) {
		if name, value, _ := strings.Cut(line, ":"); name == "RssAnon" {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("read memory of process %d: it does not say", pid)
}

// stopLimit is how long the broker may take to end.
const stopLimit = time.Minute

// coldStart starts a broker without a data directory until it is ready.
func coldStart(ctx context.Context, cfg config, bucket string, stores []string) (m measured, err error) {
	m.name = "cold start of a broker"
	began := time.Now()
	broker, err := rig.StartForebay(ctx, rig.ForebayConfig{
		Binary: cfg.binary, Command: append([]string{"broker", "--node-id", "1", "--data-dir", filepath.Join(bucket, "data")}, stores...),
	})
	if err != nil {
		return m, err
	}
	m.took = time.Since(began)
	if m.peak, err = ownMemory(broker.PID()); err != nil {
		return m, errors.Join(err, broker.Kill())
	}
	_, err = broker.Stop(stopLimit)
	return m, err
}

// look looks once with the collector, in a process of its own so that its memory can be told.
func look(ctx context.Context, cfg config) (err error) {
	objects, err := objstore.OpenFile(vfs.OS(), filepath.Join(cfg.look, "objects"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, objects.Close()) }()
	table, err := kv.OpenBolt(filepath.Join(cfg.look, "tables", "control.db"), kv.BoltOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	_, err = collect.New(collect.Config{
		Metadata: table, Objects: objects,
		Image: func(ctx context.Context) (*metalog.Image, error) { return metalog.Load(ctx, table, objects) },
	}).Run(ctx)
	return err
}
