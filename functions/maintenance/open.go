package maintenance

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/forebaylog/forebay/functions/internal/stores"
	"github.com/forebaylog/forebay/infra/id"
)

// Names of the environment.
const (
	EnvObjects  = stores.EnvObjects
	EnvWAL      = stores.EnvWAL
	EnvMetadata = stores.EnvMetadata
	EnvScratch  = "FOREBAY_SCRATCH"                 // directory for keys that memory has no room for: /tmp
	EnvGrace    = "FOREBAY_COLLECT_GRACE"           // as brokers' --collect-grace, such as 24h
	EnvAlone    = "FOREBAY_COLLECT_ALONE"           // true: no broker runs while the collector does, and any grace will do
	EnvTTL      = "FOREBAY_SESSION_TTL"             // as brokers' --session-ttl, such as 3s
	EnvMemory   = "FOREBAY_MEMORY_BYTES"            // what the function may take, else half of what Lambda gives
	envLambda   = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE" // in MiB
)

// scratchBytes is what keys may take of the scratch directory, twice which is used for a while: within the
// 512 MiB that Lambda gives.
const scratchBytes = 200 << 20

// Open opens the stores that the environment names, and returns a Handler on them for as long as the
// process lives. getenv returns "" for what is not set. The URL of a WAL store may be left out.
func Open(ctx context.Context, task Task, getenv func(string) string, log *slog.Logger) (_ *Handler, err error) {
	cfg := Config{Logger: log, Scratch: cmp.Or(getenv(EnvScratch), "/tmp"), ScratchBytes: scratchBytes}
	if cfg.MemoryBytes, err = memory(getenv); err != nil {
		return nil, err
	}
	if text := getenv(EnvGrace); text != "" {
		if cfg.Grace, err = time.ParseDuration(text); err != nil {
			return nil, fmt.Errorf("read %s: %w", EnvGrace, err)
		}
	}
	if text := getenv(EnvTTL); text != "" {
		if cfg.SessionTTL, err = time.ParseDuration(text); err != nil {
			return nil, fmt.Errorf("read %s: %w", EnvTTL, err)
		}
	}
	if text := getenv(EnvAlone); text != "" {
		if cfg.Alone, err = strconv.ParseBool(text); err != nil {
			return nil, fmt.Errorf("read %s: %w", EnvAlone, err)
		}
	}
	open, err := stores.OpenWithoutOffsets(ctx, getenv, log)
	if err != nil {
		return nil, err
	}
	cfg.Metadata, cfg.Objects, cfg.WAL = open.Control, open.Objects, open.WAL
	return New(cfg, task), nil
}

// memory is how much a function may hold, in bytes; 0 for the default.
func memory(getenv func(string) string) (int64, error) {
	name, scale := EnvMemory, int64(1)
	if getenv(name) == "" {
		name, scale = envLambda, 1<<19
	}
	if getenv(name) == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(getenv(name), 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("read %s %q: want a number above zero", name, getenv(name))
	}
	return n * scale, nil
}

// parsePartition reads what id.Partition's String writes.
func parsePartition(text string) (id.Partition, error) {
	at := strings.LastIndexByte(text, '-')
	if at < 0 {
		return id.Partition{}, fmt.Errorf("partition %q: want TOPIC-INDEX", text)
	}
	topic, err := id.ParseTopic(text[:at])
	if err != nil {
		return id.Partition{}, fmt.Errorf("partition %q: %w", text, err)
	}
	index, err := strconv.ParseInt(text[at+1:], 10, 32)
	if err != nil || index < 0 {
		return id.Partition{}, fmt.Errorf("partition %q: bad index", text)
	}
	return id.Partition{Topic: topic, Index: int32(index)}, nil
}
