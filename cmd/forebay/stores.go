package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	open "github.com/forebaylog/forebay/infra/stores"
)

// storeFlags say where a cluster keeps its log and its metadata.
type storeFlags struct {
	objectStore string
	walStore    string
	metadata    string
}

func (f *storeFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.objectStore, "object-store", "", "where the log is: s3://bucket/prefix?region=&endpoint=, minio://host:port/bucket/prefix, file:///directory or mem://")
	flags.StringVar(&f.walStore, "wal-store", "", "where the newest records are, if elsewhere, such as a directory bucket of S3 Express")
	flags.StringVar(&f.metadata, "metadata", "", "where metadata and offsets are: dynamodb://table-prefix?region=&endpoint=&create= or bolt:///directory, the latter for one broker")
}

// stores are the opened stores of a cluster.
type stores struct {
	control, offsets kv.Store
	objects          objstore.Store
	wal              objstore.Store // nil: objects
	dir              *dataDir       // of tables on this disk; nil: elsewhere
}

func (s *stores) close() error {
	var errs []error
	for _, c := range []io.Closer{s.wal, s.objects, s.offsets, s.control} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	if s.dir != nil {
		errs = append(errs, s.dir.close())
	}
	return errors.Join(errs...)
}

// open opens the stores and makes sure that they do what a log needs of them.
func (f storeFlags) open(ctx context.Context, log *slog.Logger, metrics prometheus.Registerer) (_ *stores, err error) {
	if f.objectStore == "" || f.metadata == "" {
		return nil, usageErrorf("--object-store and --metadata are needed; for one node with everything embedded run forebay dev")
	}
	s := &stores{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	observe, err := newStoreMetrics(metrics)
	if err != nil {
		return nil, err
	}
	if err = s.openTables(ctx, f.metadata, log, observe); err != nil {
		return nil, fmt.Errorf("open --metadata %s: %w", f.metadata, err)
	}
	if s.objects, err = open.Objects(ctx, f.objectStore, observe.store("objects")); err != nil {
		return nil, fmt.Errorf("open --object-store: %w", err)
	}
	if f.walStore != "" {
		if s.wal, err = open.Objects(ctx, f.walStore, observe.store("wal")); err != nil {
			return nil, fmt.Errorf("open --wal-store: %w", err)
		}
	}
	return s, nil
}

func (s *stores) openTables(ctx context.Context, text string, log *slog.Logger, m *storeMetrics) (err error) {
	scheme, _, _ := strings.Cut(text, ":")
	switch scheme {
	case "dynamodb":
		s.control, s.offsets, err = open.Tables(ctx, text, log, m.table)
		return err
	case "bolt":
		if s.dir, err = openBoltTables(text); err != nil {
			return err
		}
		s.control, s.offsets = s.dir.control, s.dir.offsets
		s.dir.control, s.dir.offsets = nil, nil // closed with the others
	default:
		return unknownTables(scheme)
	}
	return open.Probe(ctx, s.control, s.offsets)
}

// openBoltTables opens the tables of bolt:///directory, for a cluster of one broker.
func openBoltTables(text string) (*dataDir, error) {
	path, err := boltPath(text)
	if err != nil {
		return nil, err
	}
	return openTablesDir(path)
}

// storeName is the address of a store without what is nobody's business.
func storeName(text string) string {
	u, err := url.Parse(text)
	if err != nil || text == "" {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
