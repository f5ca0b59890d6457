package wal

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/forebaylog/forebay/tiering/journal"
)

// LocalConfig tunes durability on this disk.
type LocalConfig struct {
	// Interval is the least time from the start of one sync to that of the next,
	// unless EagerBytes are queued: default 1 ms; negative: none. A sync costs the
	// processor nearly the same however little it syncs.
	Interval time.Duration
	// EagerBytes is the size of a group that does not wait for Interval: default 512 KiB.
	EagerBytes int64
}

const (
	defaultInterval   = time.Millisecond
	defaultEagerBytes = 512 << 10
)

// LocalSink is durability on this disk: one fsync for each group.
func LocalSink(j *journal.Journal, cfg LocalConfig) Sink {
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.EagerBytes == 0 {
		cfg.EagerBytes = defaultEagerBytes
	}
	return &localSink{j: j, cfg: cfg}
}

type localSink struct {
	j    *journal.Journal
	cfg  LocalConfig
	last time.Time // start of the last sync
}

func (s *localSink) Sizes() (eager, most int64) { return s.cfg.EagerBytes, math.MaxInt64 }

func (s *localSink) Wake() <-chan struct{} { return nil }

func (s *localSink) Ready(queued int64) (bool, time.Duration) {
	wait := s.cfg.Interval - time.Since(s.last)
	return wait <= 0 || queued >= s.cfg.EagerBytes, wait
}

func (s *localSink) Commit(_ context.Context, c Chunk, done func(error)) {
	s.last = time.Now()
	end, err := s.j.Sync()
	if err == nil && end.Compare(c.UpTo) < 0 {
		err = fmt.Errorf("sync reached %s, want %s", end, c.UpTo)
	}
	done(err)
}
