package objstore

import (
	"context"
	"io"
	"iter"
)

// Kind is the kind of an operation seen by Inject.
type Kind uint8

// The operations of Store and of Uploads.
const (
	OpPut Kind = iota + 1
	// OpStored comes after a Put that stored the object: an error here is a
	// response that was lost, the object is there although Put fails.
	OpStored
	OpRead
	OpStat
	OpList
	OpDelete
	OpUnfinished // Key is empty
	OpAbort
)

var kindNames = [...]string{"unknown", "put", "stored", "read", "stat", "list", "delete", "unfinished", "abort"}

// String returns the kind as one lower-case word.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[0]
}

// Op is one operation about to happen.
type Op struct {
	Kind   Kind
	Key    string // the prefix for OpList
	Offset int64  // bytes; of a read
	Length int64  // bytes; of a read
}

// Inject returns store with f called before every operation. When f returns an
// error the operation is not performed and the error is returned as it is. f may
// be called concurrently, and may block to hold an operation back.
func Inject(store Store, f func(op Op) error) Store { return &injectStore{Store: store, f: f} }

// injectStore passes Close through and guards the rest.
type injectStore struct {
	Store
	f func(op Op) error
}

func (i *injectStore) Put(ctx context.Context, key string, body io.Reader) error {
	if err := i.f(Op{Kind: OpPut, Key: key}); err != nil {
		return err
	}
	if err := i.Store.Put(ctx, key, body); err != nil {
		return err
	}
	return i.f(Op{Kind: OpStored, Key: key})
}

func (i *injectStore) ReadAt(ctx context.Context, key string, p []byte, off int64) (int, error) {
	if err := i.f(Op{Kind: OpRead, Key: key, Offset: off, Length: int64(len(p))}); err != nil {
		return 0, err
	}
	return i.Store.ReadAt(ctx, key, p, off)
}

func (i *injectStore) Stat(ctx context.Context, key string) (Info, error) {
	if err := i.f(Op{Kind: OpStat, Key: key}); err != nil {
		return Info{}, err
	}
	return i.Store.Stat(ctx, key)
}

func (i *injectStore) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if err := i.f(Op{Kind: OpList, Key: prefix}); err != nil {
			yield(Info{}, err)
			return
		}
		i.Store.List(ctx, prefix, after)(yield)
	}
}

func (i *injectStore) Delete(ctx context.Context, key string) error {
	if err := i.f(Op{Kind: OpDelete, Key: key}); err != nil {
		return err
	}
	return i.Store.Delete(ctx, key)
}

// Unfinished implements Uploads.
func (i *injectStore) Unfinished(ctx context.Context) iter.Seq2[Upload, error] {
	return func(yield func(Upload, error) bool) {
		if err := i.f(Op{Kind: OpUnfinished}); err != nil {
			yield(Upload{}, err)
			return
		}
		Unfinished(ctx, i.Store)(yield)
	}
}

// Abort implements Uploads.
func (i *injectStore) Abort(ctx context.Context, u Upload) error {
	if err := i.f(Op{Kind: OpAbort, Key: u.Key}); err != nil {
		return err
	}
	return Abort(ctx, i.Store, u)
}
