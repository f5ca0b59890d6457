package maintenance

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/forebaylog/forebay/functions/internal/function"
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

// Open opens the stores that the environment names, for as long as the process lives, and returns what does the task
// on them. The URL of a WAL store may be left out.
func (t Task) Open(ctx context.Context, env *function.Env, log *slog.Logger) (func(context.Context, Request) (Report, error), error) {
	cfg := Config{
		Logger: log, Scratch: cmp.Or(env.Text(EnvScratch), "/tmp"), ScratchBytes: scratchBytes, MemoryBytes: memory(env),
		Grace: env.Duration(EnvGrace), Alone: env.Bool(EnvAlone), SessionTTL: env.Duration(EnvTTL),
	}
	if err := env.Err(); err != nil {
		return nil, err
	}
	open, err := stores.OpenWithoutOffsets(ctx, env.Text, log)
	if err != nil {
		return nil, err
	}
	cfg.Metadata, cfg.Objects, cfg.WAL, cfg.Cluster = open.Control, open.Objects, open.WAL, open.Cluster
	return New(cfg, t).Handle, nil
}

// memory is how much a function may hold, in bytes; 0 for the default.
func memory(env *function.Env) int64 {
	return cmp.Or(env.Positive(EnvMemory, 64), env.Positive(envLambda, 32)<<19)
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
