package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/wal"
)

// source is what an inspector looks at: the data directory of a stopped broker, or, if any
// of them is given, the stores of a cluster.
type source struct {
	dir    string
	stores storeFlags
}

func (s *source) register(cmd *cobra.Command) {
	registerDir(cmd, &s.dir)
	s.stores.register(cmd.Flags())
}

// with opens the source to read and runs f on it. Nothing is written.
func (s *source) with(cmd *cobra.Command, f func(ctx context.Context, d *dataDir) error) (err error) {
	if s.stores == (storeFlags{}) {
		return withControl(cmd, s.dir, f)
	}
	d, err := s.stores.openReadOnly(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	return f(cmd.Context(), d)
}

// openReadOnly opens the stores of a cluster to look at them: none is made, and none is probed.
func (f storeFlags) openReadOnly(cmd *cobra.Command) (_ *dataDir, err error) {
	if f.objectStore == "" || f.metadata == "" {
		return nil, usageErrorf("--object-store and --metadata go together; or give the --dir of a stopped broker")
	}
	ctx := cmd.Context()
	d, err := openTablesReadOnly(cmd, f.metadata)
	if err != nil {
		return nil, fmt.Errorf("open --metadata %s: %w", f.metadata, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	opts := objstore.URLOptions{ReadOnly: true}
	if d.objects, err = objstore.OpenURL(ctx, f.objectStore, opts); err != nil {
		return nil, fmt.Errorf("open --object-store: %w", err)
	}
	if f.walStore == "" {
		return d, nil
	}
	newest, err := objstore.OpenURL(ctx, f.walStore, opts)
	if err != nil {
		return nil, fmt.Errorf("open --wal-store: %w", err)
	}
	d.objects = objstore.Route(d.objects, wal.ObjectPrefix, newest)
	return d, nil
}

func openTablesReadOnly(cmd *cobra.Command, text string) (*dataDir, error) {
	scheme, _, _ := strings.Cut(text, ":")
	switch scheme {
	case "dynamodb":
		cfg, err := kv.ParseDynamoURL(text)
		if err != nil {
			return nil, err
		}
		if cfg.Logger, err = logger(cmd, cmd.ErrOrStderr()); err != nil {
			return nil, err
		}
		cfg.Create = false
		d := &dataDir{}
		d.control, d.offsets, err = kv.OpenDynamoTables(cmd.Context(), cfg)
		return d, err
	case "bolt":
		path, err := boltPath(text)
		if err != nil {
			return nil, err
		}
		d, broken, err := openStoppedTables(path)
		if err != nil {
			return nil, err
		}
		if err := broken[controlFile]; err != nil {
			return nil, errors.Join(damaged(err), d.close())
		}
		return d, nil
	}
	return nil, unknownTables(scheme)
}

func unknownTables(scheme string) error {
	return usageErrorf("unknown scheme %q: use dynamodb://table-prefix or bolt:///directory", scheme)
}

// boltPath is the directory of a bolt URL.
func boltPath(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host != "" || u.Path == "" || u.RawQuery != "" {
		return "", usageErrorf("%q: want bolt:///directory", text)
	}
	return u.Path, nil
}
