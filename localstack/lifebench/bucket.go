package main

import (
	"context"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/objstore"
)

// bucket is an object store in memory whose objects have the times of the simulation.
type bucket struct {
	*objstore.Mem
	clock func() time.Time

	mu  sync.Mutex
	all map[string]objstore.Info
}

func newBucket(clock func() time.Time) *bucket {
	return &bucket{Mem: objstore.NewMem(), clock: clock, all: map[string]objstore.Info{}}
}

func (b *bucket) Put(ctx context.Context, key string, body io.Reader) error {
	if err := b.Mem.Put(ctx, key, body); err != nil {
		return err
	}
	info, err := b.Mem.Stat(ctx, key)
	info.Modified = b.clock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all[key] = info
	return err
}

func (b *bucket) Stat(ctx context.Context, key string) (objstore.Info, error) {
	info, err := b.Mem.Stat(ctx, key)
	return b.timed(info), err
}

func (b *bucket) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range b.Mem.List(ctx, prefix, after) {
			if !yield(b.timed(info), err) {
				return
			}
		}
	}
}

func (b *bucket) Delete(ctx context.Context, key string) error {
	err := b.Mem.Delete(ctx, key)
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, key)
	return err
}

// timed gives info the time of the simulation.
func (b *bucket) timed(info objstore.Info) objstore.Info {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known, ok := b.all[info.Key]; ok {
		info.Modified = known.Modified
	}
	return info
}

// objects is how many there are.
func (b *bucket) objects() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.all)
}

// bytes is the size of all.
func (b *bucket) bytes() (sum int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, info := range b.all {
		sum += info.Size
	}
	return sum
}
