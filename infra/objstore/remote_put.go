package objstore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// maxSingle is the largest body of known size that goes out as one request, in
	// bytes: requests cost money, and one that fails is sent again from its start.
	maxSingle = 64 << 20
	// maxParts is the limit of the stores.
	maxParts = 10_000
)

// Put sends a body of up to 64 MiB that is an io.ReaderAt and io.Seeker, or any of up
// to PartSize, as one request, and others as multipart upload. It has a CRC32C of the
// body checked by the store. The commit point is the PUT or the end of the multipart
// upload, which the store does only if there is no such object.
//
// An upload that could not be aborted, or whose start was answered by nobody, stays in
// the bucket unseen until it is aborted: see Uploads.
func (s *remote) Put(ctx context.Context, key string, body io.Reader) error {
	if err := s.check(ctx, "put", key); err != nil {
		return err
	}
	var src source = &stream{s: s, body: body}
	if k, ok := knownSource(body, s.cfg.PartSize); ok {
		src = k
	}
	if err := s.put(ctx, s.name(key), src); err != nil {
		return fmt.Errorf("put object %q: %w", key, err)
	}
	return nil
}

func (s *remote) put(ctx context.Context, name string, src source) error {
	first, release, last, err := src.next(ctx)
	if err != nil {
		return err
	}
	if !last {
		return s.putParts(ctx, name, piece{first, release}, src)
	}
	defer release()
	unknown := false
	return s.try(ctx, first.size, func(ctx context.Context) error {
		err := first.send(func(u upload) error { return s.bucket.put(ctx, name, u) })
		if hasStatus(err, http.StatusPreconditionFailed) {
			return s.taken(ctx, name, unknown, first.size, checksum(first.crc))
		}
		unknown = unknown || err != nil && outcomeUnknown(err)
		return err
	})
}

// taken is what a Put returns that met an object of its name. After an attempt of
// unknown outcome an object of the same content is its own.
func (s *remote) taken(ctx context.Context, name string, unknown bool, size int64, crc string) error {
	if !unknown {
		return ErrExists
	}
	h, err := s.headOnce(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound):
		return errors.New("the object in the way is gone") // try again
	case err != nil:
		return err
	case h.size == size && (h.crc == "" || h.crc == crc):
		return nil
	}
	return ErrExists
}

// piece is a payload and what frees its memory.
type piece struct {
	payload
	release func()
}

// multipart is a multipart upload under way.
type multipart struct {
	s        *remote
	name, id string

	mu    sync.Mutex
	parts []part // by number
	size  int64
	crcs  []byte // the parts' checksums
}

func (s *remote) putParts(ctx context.Context, name string, first piece, rest source) error {
	m := &multipart{s: s, name: name}
	if err := s.try(ctx, 0, func(ctx context.Context) (err error) {
		m.id, err = s.bucket.start(ctx, name)
		return err
	}); err != nil {
		first.release()
		return fmt.Errorf("start multipart upload: %w", err)
	}
	err := m.send(ctx, first, rest)
	if err == nil {
		err = m.complete(ctx)
	}
	if err != nil {
		return errors.Join(err, m.abort(ctx))
	}
	return nil
}

// send uploads all parts, and frees their memory also when it fails.
func (m *multipart) send(ctx context.Context, p piece, rest source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(m.s.cfg.PartsInFlight)
	for last := false; ; {
		number, now := m.add(p.payload), p
		group.Go(func() error {
			defer now.release()
			return m.put(ctx, number, now.payload)
		})
		if last {
			return group.Wait()
		}
		var err error
		p.payload, p.release, last, err = rest.next(ctx)
		switch {
		case err == nil && p.size == 0: // the body ended with the part before
			p.release()
			return group.Wait()
		case err == nil && number == maxParts:
			p.release()
			err = fmt.Errorf("the body is larger than %d parts of %d bytes, raise the part size", maxParts, m.s.cfg.PartSize)
		}
		if err != nil {
			return m.give(ctx, cancel, group, err)
		}
	}
}

// give ends the parts under way. What made ctx end tells more than the read that then failed.
func (m *multipart) give(ctx context.Context, cancel func(), group *errgroup.Group, err error) error {
	own := ctx.Err() == nil
	cancel()
	if failed := group.Wait(); failed != nil && !own {
		return failed
	}
	return err
}

// add gives the next part its number.
func (m *multipart) add(p payload) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	number := len(m.parts) + 1
	m.parts = append(m.parts, part{number: number, crc: checksum(p.crc)})
	m.size += p.size
	m.crcs = append(m.crcs, byte(p.crc>>24), byte(p.crc>>16), byte(p.crc>>8), byte(p.crc))
	return number
}

func (m *multipart) put(ctx context.Context, number int, p payload) error {
	return m.s.try(ctx, p.size, func(ctx context.Context) error {
		return p.send(func(u upload) error {
			etag, err := m.s.bucket.putPart(ctx, m.name, m.id, number, u)
			if err != nil {
				return fmt.Errorf("part %d: %w", number, err)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.parts[number-1].etag = etag
			return nil
		})
	})
}

// complete is the commit point. An upload that is gone after an attempt of unknown
// outcome may be complete.
func (m *multipart) complete(ctx context.Context) error {
	unknown := false
	return m.s.try(ctx, m.size, func(ctx context.Context) error {
		err := m.s.bucket.complete(ctx, m.name, m.id, m.parts)
		if err == nil {
			return nil
		}
		r := replyOf(err)
		if r != nil && (r.status == http.StatusPreconditionFailed || r.code == "NoSuchUpload" && unknown) {
			return m.s.taken(ctx, m.name, unknown, m.size, m.checksum())
		}
		unknown = unknown || retryable(err)
		return fmt.Errorf("complete multipart upload: %w", err)
	})
}

// checksum is what the store keeps for the object: the checksum of the parts' checksums.
func (m *multipart) checksum() string {
	return checksum(crc32.Checksum(m.crcs, castagnoli)) + "-" + strconv.Itoa(len(m.parts))
}

// abortTime is how long an abort may take for a caller who has given up, and who may have to end soon.
const abortTime = time.Second

// abort frees what the store holds of the upload, also if ctx has ended, then in a short time. What
// it cannot free is collected as an unfinished upload.
func (m *multipart) abort(ctx context.Context) error {
	limit := m.s.cfg.Timeout
	if ctx.Err() != nil {
		limit = min(limit, abortTime)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if err := m.s.abort(ctx, m.name, m.id); err != nil {
		return fmt.Errorf("abort multipart upload, which stays in the bucket: %w", err)
	}
	return nil
}
