package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// RemoteConfig is what the drivers for stores behind a network have in common. The
// zero value of each field stands for its default.
type RemoteConfig struct {
	// AccessKey and SecretKey are the credentials; empty for what the SDK finds in
	// the environment, its files and the machine's role.
	AccessKey, SecretKey string
	// PartSize is the size in bytes of a part of a multipart upload, and the largest
	// body of unknown size that goes out as one request; default 16 MiB, at least 5 MiB.
	PartSize int64
	// PartsInFlight is how many parts of one Put are uploaded at once; default 4. They
	// and one more are held in memory, unless the body is an io.ReaderAt and io.Seeker.
	PartsInFlight int
	// Timeout is how long one request may take beside the time for its bytes; default 15 s.
	Timeout time.Duration
	// MinRate is how many bytes a second a request must move at least; default 1 MiB.
	MinRate int64
	// Attempts is how often a request is tried; default 6.
	Attempts int
	// Backoff is the longest pause before the second attempt, doubled for each that
	// follows, up to 5 s; default 100 ms. Pauses are drawn between half of it and the whole.
	Backoff time.Duration
	// Observe is told of every HTTP request to the store, retries and parts included,
	// by the goroutines that make them. It must not block.
	Observe func(Request)
}

const minPart = 5 << 20 // bytes, of every part but the last

func (c RemoteConfig) withDefaults() (RemoteConfig, error) {
	setDefault(&c.PartSize, 16<<20)
	setDefault(&c.PartsInFlight, 4)
	setDefault(&c.Timeout, 15*time.Second)
	setDefault(&c.MinRate, 1<<20)
	setDefault(&c.Attempts, 6)
	setDefault(&c.Backoff, 100*time.Millisecond)
	switch {
	case c.PartSize < minPart:
		return c, fmt.Errorf("part size is %d bytes, stores take parts of at least %d", c.PartSize, minPart)
	case c.PartsInFlight < 0 || c.Timeout < 0 || c.MinRate < 0 || c.Attempts < 0 || c.Backoff < 0:
		return c, errors.New("a setting is negative")
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return c, errors.New("of access key and secret key one is missing")
	}
	return c, nil
}

func setDefault[T comparable](v *T, value T) {
	if *v == *new(T) {
		*v = value
	}
}

// upload is what one attempt sends.
type upload struct {
	body *attemptBody
	size int64
	crc  string // CRC32C as in the header x-amz-checksum-crc32c
}

// part is an uploaded part.
type part struct {
	number int
	etag   string
	crc    string
}

// head is the description of a stored object.
type head struct {
	size     int64
	modified time.Time
	crc      string // as stored; of a multipart upload that of its parts' checksums. May be empty
}

// listing is a page of a list. next continues it, "" ends it.
type listing struct {
	objects []Info // Key is the object's name
	next    string
}

// bucket is what an SDK does for a remote store: one request, tried once, with names
// of objects for keys. Replies that are no success are errors that hold a *reply.
type bucket interface {
	// put and complete must not replace an object.
	put(ctx context.Context, name string, u upload) error
	start(ctx context.Context, name string) (id string, err error)
	putPart(ctx context.Context, name, id string, number int, u upload) (etag string, err error)
	complete(ctx context.Context, name, id string, parts []part) error
	abort(ctx context.Context, name, id string) error
	// unfinished is a page of the multipart uploads that have not ended, behind after.
	unfinished(ctx context.Context, after uploadsAfter) (uploadsPage, error)
	// get returns the bytes from off, length at most, and the size of the object.
	get(ctx context.Context, name string, off, length int64) (body io.ReadCloser, size int64, err error)
	head(ctx context.Context, name string) (head, error)
	list(ctx context.Context, s span, next string) (listing, error)
	remove(ctx context.Context, name string) error
}

// remote is the store in a bucket of any SDK. Attempts, checksums, multipart uploads
// and lost replies are dealt with here, so that both drivers do it alike.
type remote struct {
	bucket    bucket
	cfg       RemoteConfig
	base      string // prefix of all names: "" or ending in "/"
	place     string // for messages
	unordered bool   // the bucket lists in no order, and from the start only
	transport *http.Transport
	buffers   sync.Pool // of *[]byte, PartSize long
	closed    atomic.Bool
}

func newRemote(cfg RemoteConfig, place, prefix string, transport *http.Transport) *remote {
	s := &remote{cfg: cfg, place: place, transport: transport}
	if prefix != "" {
		s.base = prefix + "/"
	}
	s.buffers.New = func() any {
		buf := make([]byte, cfg.PartSize)
		return &buf
	}
	return s
}

// checkPrefix returns the prefix without slashes around it.
func checkPrefix(prefix string) (string, error) {
	prefix = strings.Trim(prefix, "/")
	if prefix == "" {
		return "", nil
	}
	if len(prefix) > maxPrefix {
		return "", fmt.Errorf("prefix %q has %d bytes, the limit is %d", prefix, len(prefix), maxPrefix)
	}
	if err := CheckKey(prefix); err != nil {
		return "", fmt.Errorf("prefix: %w", err)
	}
	return prefix, nil
}

func (s *remote) name(key string) string { return s.base + objectNameOf(key) }

// ReadAt is one ranged GET. An answer that breaks off counts as a failed attempt.
func (s *remote) ReadAt(ctx context.Context, key string, p []byte, off int64) (int, error) {
	if err := s.check(ctx, "read", key); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, negativeOffset(key, off)
	}
	if len(p) == 0 { // there is no such range
		_, err := s.Stat(ctx, key)
		return 0, err
	}
	n := 0
	err := s.try(ctx, int64(len(p)), func(ctx context.Context) error {
		var err error
		n, err = s.readOnce(ctx, s.name(key), p, off)
		return err
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("read object %q: %w", key, err)
	case n < len(p):
		return n, io.EOF
	}
	return n, nil
}

func (s *remote) readOnce(ctx context.Context, name string, p []byte, off int64) (int, error) {
	body, size, err := s.bucket.get(ctx, name, off, int64(len(p)))
	switch {
	case hasStatus(err, http.StatusRequestedRangeNotSatisfiable):
		return 0, nil // off is at or behind the end
	case isMissing(err):
		return 0, fmt.Errorf("%w: %w", ErrNotFound, err)
	case err != nil:
		return 0, err
	}
	defer body.Close()
	want := max(0, min(int64(len(p)), size-off))
	if n, err := io.ReadFull(body, p[:want]); err != nil {
		return 0, fmt.Errorf("the answer broke off after %d of %d bytes: %w", n, want, err)
	}
	return int(want), nil
}

// Stat is one HEAD. If the whole bucket is missing, Amazon S3 answers as if the object were.
func (s *remote) Stat(ctx context.Context, key string) (Info, error) {
	if err := s.check(ctx, "stat", key); err != nil {
		return Info{}, err
	}
	var h head
	err := s.try(ctx, 0, func(ctx context.Context) (err error) {
		h, err = s.headOnce(ctx, s.name(key))
		return err
	})
	if err != nil {
		return Info{}, fmt.Errorf("stat object %q: %w", key, err)
	}
	return Info{Key: key, Size: h.size, Modified: whole(h.modified)}, nil
}

func (s *remote) headOnce(ctx context.Context, name string) (head, error) {
	h, err := s.bucket.head(ctx, name)
	if isMissing(err) {
		return head{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return h, err
}

// whole is the precision of HEAD, so that Stat and List agree.
func whole(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// Delete is one DELETE.
func (s *remote) Delete(ctx context.Context, key string) error {
	if err := s.check(ctx, "delete", key); err != nil {
		return err
	}
	err := s.try(ctx, 0, func(ctx context.Context) error {
		err := s.bucket.remove(ctx, s.name(key))
		if isMissing(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete object %q: %w", key, err)
	}
	return nil
}

// List asks for a page when it comes to it. An unordered bucket is listed whole and
// sorted first, in memory.
func (s *remote) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if err := s.list(ctx, prefix, after, func(info Info) bool { return yield(info, nil) }); err != nil {
			yield(Info{}, fmt.Errorf("list objects %q: %w", prefix, err))
		}
	}
}

func (s *remote) list(ctx context.Context, prefix, after string, yield func(Info) bool) error {
	if s.closed.Load() {
		return fs.ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	asked, ok := listSpan(s.base, prefix, after)
	if !ok {
		return nil
	}
	wanted := func(info *Info) bool {
		var ok bool
		info.Key, ok = keyOf(strings.TrimPrefix(info.Key, s.base))
		info.Modified = whole(info.Modified)
		return ok && strings.HasPrefix(info.Key, prefix) && info.Key > after
	}
	if s.unordered {
		return s.listSorted(ctx, asked, wanted, yield)
	}
	_, err := s.pages(ctx, asked, func(info Info) bool { return !wanted(&info) || yield(info) })
	return err
}

// listSorted is List of a bucket without order, whose prefixes must end in a slash.
func (s *remote) listSorted(ctx context.Context, asked span, wanted func(*Info) bool, yield func(Info) bool) error {
	asked = span{prefix: asked.prefix[:strings.LastIndexByte(asked.prefix, '/')+1]}
	var all []Info
	if _, err := s.pages(ctx, asked, func(info Info) bool {
		if wanted(&info) {
			all = append(all, info)
		}
		return true
	}); err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b Info) int { return strings.Compare(a.Key, b.Key) })
	for _, info := range all {
		if !yield(info) {
			return nil
		}
	}
	return nil
}

// pages hands on what the bucket lists, and reports whether it came to the end.
func (s *remote) pages(ctx context.Context, asked span, each func(Info) bool) (bool, error) {
	for next := ""; ; {
		var page listing
		err := s.try(ctx, 0, func(ctx context.Context) (err error) {
			page, err = s.bucket.list(ctx, asked, next)
			return err
		})
		if err != nil {
			return false, err
		}
		for _, info := range page.objects {
			if !each(info) {
				return false, nil
			}
		}
		if page.next == "" {
			return true, nil
		}
		next = page.next
	}
}

// Close closes idle connections; calls after it fail with fs.ErrClosed.
func (s *remote) Close() error {
	s.closed.Store(true)
	s.transport.CloseIdleConnections()
	return nil
}

func (s *remote) check(ctx context.Context, op, key string) error {
	if s.closed.Load() {
		return fmt.Errorf("%s object %q: %w", op, key, fs.ErrClosed)
	}
	if err := checkCall(ctx, op, key); err != nil {
		return err
	}
	if n := len(s.name(key)); n > maxName {
		return fmt.Errorf("%s object %q: %w: its name in the bucket has %d bytes, the limit is %d", op, key, ErrInvalidKey, n, maxName)
	}
	return nil
}
