// Package stores opens what a cluster stands on, by URL: the object stores and the tables. It makes
// sure that they do what a log needs of them, and keeps nothing: the caller closes what it returns.
package stores

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
)

// Objects opens an object store, such as s3://bucket/prefix, and probes it. observe, if not nil, is
// told of each request.
func Objects(ctx context.Context, url string, observe func(objstore.Request)) (objstore.Store, error) {
	s, err := objstore.OpenURL(ctx, url, objstore.URLOptions{Remote: objstore.RemoteConfig{Observe: observe}})
	if err != nil {
		return nil, err
	}
	if err := objstore.Probe(ctx, s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Tables opens the tables of dynamodb://prefix, that of the control data and that of the offsets,
// and probes them. observe, if not nil, is told of each request.
func Tables(ctx context.Context, url string, log *slog.Logger, observe func(kv.Request)) (control, offsets kv.Store, err error) {
	cfg, err := kv.ParseDynamoURL(url)
	if err != nil {
		return nil, nil, err
	}
	cfg.Logger, cfg.Observe = log, observe
	if control, offsets, err = kv.OpenDynamoTables(ctx, cfg); err != nil {
		return nil, nil, err
	}
	if err := Probe(ctx, control, offsets); err != nil {
		return nil, nil, errors.Join(err, control.Close(), offsets.Close())
	}
	return control, offsets, nil
}

// Probe makes sure that tables do what a log needs of them.
func Probe(ctx context.Context, tables ...kv.Store) error {
	for i, table := range tables {
		if err := kv.Probe(ctx, table); err != nil {
			return fmt.Errorf("probe table %d of %d: %w", i+1, len(tables), err)
		}
	}
	return nil
}
