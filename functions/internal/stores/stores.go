// Package stores opens what the environment of a function names. It reads no environment itself: mains hand it in.
// It does not try what the stores can do, as brokers have when they started: that takes longer than all else
// that a function does at its start.
package stores

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
)

// Names of the environment.
const (
	EnvObjects  = "FOREBAY_OBJECT_STORE" // as brokers' --object-store
	EnvWAL      = "FOREBAY_WAL_STORE"    // as brokers' --wal-store; may be left out
	EnvMetadata = "FOREBAY_METADATA"     // as brokers' --metadata: dynamodb://
)

// Stores are what a cluster stands on.
type Stores struct {
	Control kv.Store
	Offsets kv.Store // nil: not asked for
	Objects objstore.Store
	WAL     objstore.Store // nil: Objects
	Cluster string         // what the names of the tables begin with, which tells clusters of an account and region apart
}

// Open opens the stores, at once, for as long as the process lives. getenv returns "" for what is not set.
func Open(ctx context.Context, getenv func(string) string, log *slog.Logger) (Stores, error) {
	var s Stores
	return s.open(ctx, getenv, log, func(cfg kv.DynamoConfig) (err error) {
		s.Control, s.Offsets, err = kv.OpenDynamoTables(ctx, cfg)
		return err
	})
}

// OpenWithoutOffsets is Open for who has nothing to do with groups, nor a right to their table.
func OpenWithoutOffsets(ctx context.Context, getenv func(string) string, log *slog.Logger) (Stores, error) {
	var s Stores
	return s.open(ctx, getenv, log, func(cfg kv.DynamoConfig) (err error) {
		s.Control, err = kv.OpenDynamoControl(ctx, cfg)
		return err
	})
}

func (s *Stores) open(ctx context.Context, getenv func(string) string, log *slog.Logger, tables func(kv.DynamoConfig) error) (Stores, error) {
	if getenv(EnvObjects) == "" || getenv(EnvMetadata) == "" {
		return Stores{}, fmt.Errorf("%s and %s are needed, as brokers have them", EnvObjects, EnvMetadata)
	}
	var g errgroup.Group // each of them takes several requests
	g.Go(func() error {
		cfg, err := kv.ParseDynamoURL(getenv(EnvMetadata))
		if err == nil {
			s.Cluster, cfg.Logger = cfg.Table, log
			err = tables(cfg)
		}
		if err != nil {
			return fmt.Errorf("open %s: %w", EnvMetadata, err)
		}
		return nil
	})
	open := func(name string, to *objstore.Store) func() error {
		return func() (err error) {
			if *to, err = objstore.OpenURL(ctx, getenv(name), objstore.URLOptions{}); err != nil {
				err = fmt.Errorf("open %s: %w", name, err)
			}
			return err
		}
	}
	g.Go(open(EnvObjects, &s.Objects))
	if getenv(EnvWAL) != "" {
		g.Go(open(EnvWAL, &s.WAL))
	}
	if err := g.Wait(); err != nil {
		return Stores{}, errors.Join(err, s.Close())
	}
	return *s, nil
}

// Close closes what is open.
func (s Stores) Close() error {
	var errs []error
	for _, c := range []io.Closer{s.Control, s.Offsets, s.Objects, s.WAL} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
