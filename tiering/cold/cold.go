// Package cold reads batches out of the packs in the object store: by chunks of
// fixed size that are kept in a bounded cache, with one request for one chunk
// however many readers wait for it, and with chunks read ahead for those that
// read a run from front to back.
//
// It owns its caches and the requests under way, all of which are derived from
// immutable objects and may be lost at any time. It never writes, and never hands
// out a byte that it did not verify: a batch is checked against its own checksum,
// and what that does not cover, its offset and leader epoch, against the footer
// of the object and the batches around it, which of a sparse run has checksums of that too. The chunks with a damaged batch are
// fetched again once before a reader hears of it.
//
// A Reader is safe for concurrent use. What it returns must not be changed: it is
// shared with other readers, and stays valid for as long as it is held.
package cold

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
)

// Errors of this package.
var (
	// ErrCorrupt: an object does not hold what the chain and its footer say.
	ErrCorrupt = errors.New("sealed data corrupt")
	// ErrClosed: the Reader was closed.
	ErrClosed = errors.New("cold reader closed")
)

// Config of a Reader. The zero value of a field selects its default.
type Config struct {
	// CacheBytes bounds the memory of the chunks that are kept and those that are
	// being fetched: 64 MiB; at least four chunks. Readers may hold more.
	CacheBytes int64
	// ChunkBytes is the size of a chunk and so of a request: 1 MiB.
	ChunkBytes int64
	// FooterBytes bounds, roughly, the memory of the footers that are kept: 16 MiB; but
	// one is always kept, however large.
	FooterBytes int64
	// ReadAhead is how many chunks are fetched ahead of a sequential reader: 6; negative for none.
	ReadAhead int
	// FetchTimeout bounds one request: 30 s.
	FetchTimeout time.Duration
	// Logger tells of damage that fetching again may mend; nil discards.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.ChunkBytes <= 0 {
		c.ChunkBytes = 1 << 20
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = 64 << 20
	}
	c.CacheBytes = max(c.CacheBytes, 4*c.ChunkBytes)
	if c.FooterBytes <= 0 {
		c.FooterBytes = 16 << 20
	}
	if c.ReadAhead == 0 {
		c.ReadAhead = 6
	}
	if c.FetchTimeout <= 0 {
		c.FetchTimeout = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Reader reads packs through its caches.
type Reader struct {
	cfg     Config
	objects objstore.Store
	owner   *owner
	chunks  *cache[chunkKey, []byte]
	footers *cache[footerKey, *pack.Footer]
	trail   *trail

	fetchedBytes atomic.Int64
	corrupt      atomic.Int64
}

type footerKey struct {
	object string
	size   int64
}

// maxFetches bounds the requests for chunks under way, and those for footers.
const maxFetches = 16

// New returns a Reader of the packs in objects, which the caller closes after it.
func New(objects objstore.Store, cfg Config) *Reader {
	r := &Reader{cfg: cfg.withDefaults(), objects: objects, owner: newOwner(), trail: newTrail()}
	r.chunks = newCache(r.owner, 0, maxFetches, r.fetchChunk, func(b []byte) int64 { return int64(len(b)) })
	r.SetCacheBytes(r.cfg.CacheBytes)
	r.footers = newCache(r.owner, r.cfg.FooterBytes, maxFetches, r.fetchFooter, footerCost)
	return r
}

// SetCacheBytes changes Config.CacheBytes; 0 or less selects the default. What is in memory beyond it
// goes at once, and requests under way when they end.
func (r *Reader) SetCacheBytes(bytes int64) {
	c := Config{CacheBytes: bytes, ChunkBytes: r.cfg.ChunkBytes}.withDefaults()
	fetches := min(maxFetches, c.CacheBytes/c.ChunkBytes/2)
	r.chunks.resize(c.CacheBytes-fetches*c.ChunkBytes, int(fetches))
}

// Close cancels the requests under way and waits for their end, as long as ctx
// lets it. Reads fail with ErrClosed from then on.
func (r *Reader) Close(ctx context.Context) error {
	if err := r.owner.close(ctx); err != nil {
		return fmt.Errorf("close the cold reader: %w", err)
	}
	return nil
}

// Stats are counts since the Reader was made, and sizes now, in bytes.
type Stats struct {
	Hits, Requests int64 // reads of chunks that were in memory; requests for chunks
	Shared         int64 // reads of chunks that waited for the request of another
	Ahead          int64 // requests of the read-ahead, part of Requests
	Evictions      int64 // of chunks
	FooterHits     int64
	FooterRequests int64
	FetchedBytes   int64 // of chunks
	CachedBytes    int64 // of chunks in memory
	FooterBytes    int64 // of footers in memory
	Corrupt        int64 // batches and footers found damaged
}

// Stats returns the counts.
func (r *Reader) Stats() Stats {
	chunks, cached := r.chunks.snapshot()
	footers, footerBytes := r.footers.snapshot()
	return Stats{
		Hits: chunks.hits, Requests: chunks.loads, Shared: chunks.joined, Ahead: chunks.aheads, Evictions: chunks.evictions,
		FooterHits: footers.hits, FooterRequests: footers.loads, FetchedBytes: r.fetchedBytes.Load(),
		CachedBytes: cached, FooterBytes: footerBytes, Corrupt: r.corrupt.Load(),
	}
}

// Footer returns the footer of an object of size bytes. It fails with ErrCorrupt
// and with objstore.ErrNotFound.
func (r *Reader) Footer(ctx context.Context, object string, size int64) (*pack.Footer, error) {
	f, err := r.footers.get(ctx, footerKey{object, size})
	if err != nil {
		return nil, fmt.Errorf("read the footer of object %s: %w", object, err)
	}
	return f, nil
}

func (r *Reader) fetchFooter(ctx context.Context, key footerKey) (*pack.Footer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.FetchTimeout)
	defer cancel()
	f, err := pack.ReadFooter(ctx, objstore.Object{Store: r.objects, Key: key.object}, key.size)
	if errors.Is(err, pack.ErrCorrupt) {
		r.corrupt.Add(1)
		return nil, errors.Join(ErrCorrupt, err)
	}
	return f, err
}

// footerCost is roughly the memory of f in bytes.
func footerCost(f *pack.Footer) int64 {
	cost := int64(256)
	for i := range f.Runs {
		run := &f.Runs[i]
		cost += 256 + 24*int64(len(run.Index)) + 4*int64(len(run.Heads)) + 16*int64(len(run.Epochs)) + 32*int64(len(run.Aborted))
		for _, s := range run.Producers {
			cost += 96 + 32*int64(len(s.Batches))
		}
	}
	return cost
}

// runOf returns the run that seg stands for, once it agrees with the footer.
func (r *Reader) runOf(ctx context.Context, src source) (*pack.Run, error) {
	f, err := r.Footer(ctx, src.seg.Object, src.seg.ObjectSize)
	if err != nil {
		return nil, err
	}
	run, ok := f.Run(src.p)
	if !ok {
		return nil, src.corrupt(src.seg.Pos, errors.New("the object has no run of the partition"))
	}
	if err := chain.Matches(src.seg, run); err != nil {
		return nil, src.corrupt(src.seg.Pos, err)
	}
	return run, nil
}

// errShort is returned for an object that is shorter than the chain says.
var errShort = fmt.Errorf("%w: object shorter than the chain says", ErrCorrupt)

func (r *Reader) fetchChunk(ctx context.Context, key chunkKey) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.FetchTimeout)
	defer cancel()
	off := key.index * r.cfg.ChunkBytes
	b := make([]byte, min(r.cfg.ChunkBytes, key.size-off))
	n, err := r.objects.ReadAt(ctx, key.object, b, off)
	r.fetchedBytes.Add(int64(n))
	switch {
	case n == len(b):
		return b, nil
	case err == nil || errors.Is(err, io.EOF):
		err = errShort
	}
	return nil, fmt.Errorf("read %d bytes at %d of object %s: %w", len(b), off, key.object, err)
}
