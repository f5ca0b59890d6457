package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
)

// Route returns a Store whose objects with the prefix are in special and the others in rest:
// WAL objects may have a faster bucket than packs. What rest has with the prefix is not seen.
// Close closes both.
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
	if len(prefix) >= len(r.prefix) || !strings.HasPrefix(r.prefix, prefix) {
		return r.of(prefix).List(ctx, prefix, after)
	}
	return r.listBoth(ctx, prefix, after)
}

// listBoth lists what is in special between those objects of rest that it lies between.
func (r *router) listBoth(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		special := func() (more bool) {
			for info, err := range r.special.List(ctx, r.prefix, after) {
				if !yield(info, err) || err != nil {
					return false
				}
			}
			return true
		}
		listed := false
		for info, err := range r.rest.List(ctx, prefix, after) {
			if err == nil && strings.HasPrefix(info.Key, r.prefix) {
				continue
			}
			if err == nil && info.Key > r.prefix && !listed {
				if listed = true; !special() {
					return
				}
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
		if !listed {
			special()
		}
	}
}

func (r *router) Delete(ctx context.Context, key string) error { return r.of(key).Delete(ctx, key) }

func (r *router) Close() error { return errors.Join(r.rest.Close(), r.special.Close()) }

// Unfinished implements Uploads.
func (r *router) Unfinished(ctx context.Context) iter.Seq2[Upload, error] {
	return func(yield func(Upload, error) bool) {
		for _, s := range []Store{r.rest, r.special} {
			for u, err := range Unfinished(ctx, s) {
				if !yield(u, err) || err != nil {
					return
				}
			}
		}
	}
}

// Abort implements Uploads. Where the key is not known, neither is the store, but an id is of one only.
func (r *router) Abort(ctx context.Context, u Upload) error {
	if u.Key != "" {
		return Abort(ctx, r.of(u.Key), u)
	}
	return errors.Join(Abort(ctx, r.rest, u), Abort(ctx, r.special, u))
}
