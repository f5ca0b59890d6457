package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/localstack/rig"
)

// machine is a target whose power can fail: a broker in this process, with its hot tier on a
// disk that forgets what was not synced. The metadata and the packs are kept elsewhere. A
// machine is used by one goroutine.
type machine struct {
	cfg     broker.Config
	rng     *rand.Rand
	disk    *vfs.Mem
	running *broker.Broker
	log     safeBuffer
}

func startMachine(ctx context.Context, seed uint64, dir string) (*machine, error) {
	addr, err := rig.FreeAddr()
	if err != nil {
		return nil, err
	}
	m := &machine{rng: rand.New(rand.NewPCG(seed, 1)), disk: vfs.NewMem()}
	m.cfg = broker.Config{
		NodeID: 1, Listeners: []broker.Listener{{BindAddr: addr}}, Metadata: kv.NewMem(), Offsets: kv.NewMem(), Objects: objstore.NewMem(),
		DataDir: filepath.Join(dir, "machine"), Logger: slog.New(slog.NewTextHandler(&m.log, nil)),
		Storage: broker.Storage{SegmentBytes: 256 << 10, SegmentAge: 3 * time.Second, TailBytes: 1 << 20, HotBytes: 1 << 20},
		Groups:  broker.Groups{InitialRebalanceDelay: 100 * time.Millisecond, MinSessionTimeout: memberSession}, Transactions: broker.Transactions{AbortInterval: 500 * time.Millisecond},
	}
	return m, m.start(ctx)
}

// start switches the machine on.
func (m *machine) start(ctx context.Context) (err error) {
	cfg := m.cfg
	cfg.FS = m.disk
	if m.running, err = broker.Open(ctx, cfg); err != nil {
		return fmt.Errorf("switch the machine on: %w", err)
	}
	return nil
}

// cutPower ends the broker with all that the disk was not told to keep, but for what it may
// have written on its own, and switches the machine on again. The index, which is only derived
// and on another disk, is there after it or not.
func (m *machine) cutPower(ctx context.Context) error {
	disk := m.disk.Crash(vfs.KeepUnsynced(m.rng.Uint64()))
	if m.rng.IntN(2) == 0 {
		disk = m.disk.Crash()
	}
	closing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_ = m.running.Close(closing) // its disk is gone: it cannot end well
	m.disk = disk
	if m.rng.IntN(2) == 0 {
		if err := os.RemoveAll(filepath.Join(m.cfg.DataDir, broker.IndexDir)); err != nil {
			return fmt.Errorf("remove the index: %w", err)
		}
	}
	return m.start(ctx)
}

func (m *machine) addrs() []string            { return []string{m.cfg.Listeners[0].BindAddr} }
func (m *machine) heal(context.Context) error { return nil }
func (m *machine) outputs() map[string]string { return map[string]string{"machine": m.log.String()} }

func (m *machine) renew(ctx context.Context) (string, error) {
	return "power-cut", m.cutPower(ctx)
}

func (m *machine) close() error {
	if m.running == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := m.running.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("switch the machine off: %w", err)
	}
	return nil
}

// safeBuffer is a bytes.Buffer for many writers.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
