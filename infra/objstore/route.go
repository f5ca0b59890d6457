package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
)

// Route returns a Store whose objects with the prefix are in special and the others in rest:
// WAL objects may have a faster bucket than packs. A List goes to the one that its prefix
// names, so the prefix of no List may be a part of the one given here. Close closes both.
func Route(rest Store, prefix string, special Store) Store {
	return &router{rest: rest, prefix: prefix, special: special}
}

type router struct {
	rest, special Store
	prefix        string
}

func (r *router) of(key string) Store {
	if strings.HasPrefix(key, r.prefix) {
		return r.special
	}
	return r.rest
}

func (r *router) Put(ctx context.Context, key string, body io.Reader) error {
	return r.of(key).Put(ctx, key, body)
}

func (r *router) ReadAt(ctx context.Context, key string, p []byte, off int64) (int, error) {
	return r.of(key).ReadAt(ctx, key, p, off)
}

func (r *router) Stat(ctx context.Context, key string) (Info, error) { return r.of(key).Stat(ctx, key) }

func (r *router) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return r.of(prefix).List(ctx, prefix, after)
}

func (r *router) Delete(ctx context.Context, key string) error { return r.of(key).Delete(ctx, key) }

func (r *router) Close() error { return errors.Join(r.rest.Close(), r.special.Close()) }
