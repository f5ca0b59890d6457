package main

import (
	"context"
	"io"
	"iter"
	"sync/atomic"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
)

// counts is what one part of the system asked of the stores.
type counts struct {
	puts, gets, lists, deletes atomic.Int64
	putBytes, getBytes         atomic.Int64
	tableReads, tableWrites    atomic.Int64
}

// listPage is how many names an object store lists for one request.
const listPage = 1000

// countedObjects is a bucket as one part of the system uses it.
type countedObjects struct {
	objstore.Store
	c *counts
}

func (s countedObjects) Put(ctx context.Context, key string, body io.Reader) error {
	s.c.puts.Add(1)
	return s.Store.Put(ctx, key, &countedReader{body, &s.c.putBytes})
}

func (s countedObjects) ReadAt(ctx context.Context, key string, p []byte, off int64) (int, error) {
	s.c.gets.Add(1)
	n, err := s.Store.ReadAt(ctx, key, p, off)
	s.c.getBytes.Add(int64(n))
	return n, err
}

func (s countedObjects) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		s.c.lists.Add(1)
		n := 0
		for info, err := range s.Store.List(ctx, prefix, after) {
			if n++; n > listPage {
				s.c.lists.Add(1)
				n = 1
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

func (s countedObjects) Delete(ctx context.Context, key string) error {
	s.c.deletes.Add(1)
	return s.Store.Delete(ctx, key)
}

type countedReader struct {
	io.Reader
	n *atomic.Int64
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n.Add(int64(n))
	return n, err
}

// countedTable is a table as one part of the system uses it. Each item written counts, and each
// read or query.
type countedTable struct {
	kv.Store
	c *counts
}

func (s countedTable) Get(ctx context.Context, key kv.Key) (kv.Item, error) {
	s.c.tableReads.Add(1)
	return s.Store.Get(ctx, key)
}

func (s countedTable) Query(ctx context.Context, part string, r kv.Range) ([]kv.Item, error) {
	s.c.tableReads.Add(1)
	return s.Store.Query(ctx, part, r)
}

func (s countedTable) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	s.c.tableWrites.Add(int64(len(writes)))
	return s.Store.Write(ctx, writes...)
}

// add adds what another part asked for.
func (c *counts) add(o *counts) {
	c.puts.Add(o.puts.Load())
	c.gets.Add(o.gets.Load())
	c.lists.Add(o.lists.Load())
	c.deletes.Add(o.deletes.Load())
	c.putBytes.Add(o.putBytes.Load())
	c.getBytes.Add(o.getBytes.Load())
	c.tableReads.Add(o.tableReads.Load())
	c.tableWrites.Add(o.tableWrites.Load())
}
