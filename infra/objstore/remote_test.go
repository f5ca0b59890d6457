package objstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/objstore/objstoretest"
)

// openRemote opens bucket "b-b" of a fake store.
type openRemote func(t *testing.T, addr string, cfg objstore.RemoteConfig) objstore.Store

var remotes = map[string]openRemote{
	"minio": func(t *testing.T, addr string, cfg objstore.RemoteConfig) objstore.Store {
		s, err := objstore.OpenMinIO(t.Context(), objstore.MinIOConfig{Address: addr, Bucket: "b-b", Prefix: "some/prefix", RemoteConfig: cfg})
		require.NoError(t, err)
		return s
	},
	"s3": func(t *testing.T, addr string, cfg objstore.RemoteConfig) objstore.Store {
		s, err := objstore.OpenS3(t.Context(), objstore.S3Config{
			Bucket: "b-b", Prefix: "/some/prefix/", Region: "eu-central-1", Endpoint: "http://" + addr, PathStyle: true, RemoteConfig: cfg,
		})
		require.NoError(t, err)
		return s
	},
}

// quick is a configuration for tests: pauses are short and parts small.
func quick() objstore.RemoteConfig {
	return objstore.RemoteConfig{
		AccessKey: "key", SecretKey: "secret", Backoff: time.Millisecond, Attempts: 3, PartSize: 5 << 20, Timeout: 10 * time.Second,
	}
}

// withRemotes runs a test with each driver, on a fake store that setup has prepared.
func withRemotes(t *testing.T, setup func(*fakeS3, *objstore.RemoteConfig), test func(*testing.T, objstore.Store, *fakeS3)) {
	for name, open := range remotes {
		t.Run(name, func(t *testing.T) {
			fake, cfg := &fakeS3{}, quick()
			setup(fake, &cfg)
			s := open(t, fake.start(t), cfg)
			test(t, s, fake)
			require.NoError(t, s.Close())
		})
	}
}

func TestRemoteDrivers(t *testing.T) {
	for name, open := range remotes {
		t.Run(name, func(t *testing.T) {
			objstoretest.Run(t, func(t *testing.T) objstore.Store { return open(t, new(fakeS3).start(t), quick()) })
		})
	}
}

func random(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(p) // never fails
	return p
}

// unsized hides all that a body could tell of its size.
func unsized(p []byte) io.Reader { return io.MultiReader(bytes.NewReader(p)) }

func requireContent(t *testing.T, s objstore.Store, key string, want []byte) {
	t.Helper()
	p := make([]byte, len(want)+1)
	n, err := s.ReadAt(t.Context(), key, p, 0)
	require.Equal(t, io.EOF, err)
	require.True(t, bytes.Equal(want, p[:n]), "content of %s", key)
}

// TestDirectoryBucket lists a bucket without order, start or free prefixes.
func TestDirectoryBucket(t *testing.T) {
	fake := &fakeS3{unordered: true}
	s, err := objstore.OpenUnordered(t.Context(), objstore.S3Config{
		Bucket: "b-b", Endpoint: "http://" + fake.start(t), PathStyle: true, RemoteConfig: quick(),
	})
	require.NoError(t, err)
	var want []string
	for i := range 3 * pageSize {
		key := fmt.Sprintf("wal/session/%02d.x", i)
		require.NoError(t, s.Put(t.Context(), key, strings.NewReader("")))
		if i > 3 && i < 10 {
			want = append(want, key)
		}
	}
	require.NoError(t, s.Put(t.Context(), "other", strings.NewReader("")))
	var got []string
	for info, err := range s.List(t.Context(), "wal/session/0", "wal/session/03.x") {
		require.NoError(t, err)
		got = append(got, info.Key)
	}
	require.Equal(t, want, got)
	require.NoError(t, s.Close())
}

// TestRetries has requests fail for a while in ways that pass.
func TestRetries(t *testing.T) {
	content := random(1000)
	for name, answer := range map[string]func(http.ResponseWriter){
		"busy":      func(w http.ResponseWriter) { fail(w, 503, "SlowDown", "reduce your request rate") },
		"internal":  func(w http.ResponseWriter) { fail(w, 500, "InternalError", "try again") },
		"no XML":    func(w http.ResponseWriter) { http.Error(w, "bad gateway", http.StatusBadGateway) },
		"cut":       func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"throttled": func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) },
		"conflict":  func(w http.ResponseWriter) { fail(w, 409, "ConditionalRequestConflict", "in progress") },
		"damaged":   func(w http.ResponseWriter) { fail(w, 400, "BadDigest", "the checksum did not match") },
	} {
		everywhere := name == "busy" || name == "cut"
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var left atomic.Int32
			withRemotes(t, func(f *fakeS3, _ *objstore.RemoteConfig) {
				f.before = func(w http.ResponseWriter, _ *http.Request) bool {
					if left.Add(-1) < 0 {
						return false
					}
					answer(w)
					return true
				}
			}, func(t *testing.T, s objstore.Store, _ *fakeS3) {
				for step, do := range map[string]func() error{
					"put":  func() error { return s.Put(t.Context(), "put.x", bytes.NewReader(content)) },
					"read": func() error { _, err := s.ReadAt(t.Context(), "object.x", make([]byte, 10), 0); return err },
					"stat": func() error { _, err := s.Stat(t.Context(), "object.x"); return err },
					"list": func() error {
						for _, err := range s.List(t.Context(), "", "") {
							return err
						}
						return errors.New("empty")
					},
					"delete": func() error { return s.Delete(t.Context(), "absent.x") },
				} {
					if !everywhere && step != "put" {
						continue
					}
					left.Store(0)
					if step != "put" {
						err := s.Put(t.Context(), "object.x", bytes.NewReader(content))
						require.True(t, err == nil || errors.Is(err, objstore.ErrExists), err)
					}
					left.Store(2)
					require.NoError(t, do(), step)
					require.Negative(t, left.Load(), step)
					left.Store(1000) // the transport tries some again by itself
					err := do()
					require.ErrorIs(t, err, objstore.ErrUnavailable, step)
					require.ErrorContains(t, err, "3 attempts", step)
				}
			})
		})
	}
}

// TestBrokenAnswer ends a read's answer early.
func TestBrokenAnswer(t *testing.T) {
	var left atomic.Int32
	withRemotes(t, func(f *fakeS3, _ *objstore.RemoteConfig) {
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || left.Add(-1) < 0 {
				return false
			}
			w.Header().Set("Content-Range", "bytes 0-9/10")
			w.Header().Set("Content-Length", "10")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			w.WriteHeader(206)
			_, _ = io.WriteString(w, "wrong")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}, func(t *testing.T, s objstore.Store, _ *fakeS3) {
		require.NoError(t, s.Put(t.Context(), "o.x", strings.NewReader("0123456789")))
		left.Store(2)
		p := make([]byte, 10)
		n, err := s.ReadAt(t.Context(), "o.x", p, 0)
		require.NoError(t, err)
		require.Equal(t, "0123456789", string(p[:n]))
		left.Store(3)
		_, err = s.ReadAt(t.Context(), "o.x", p, 0)
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.NotErrorIs(t, err, io.EOF)
	})
}

// TestTimeout has the store keep still.
func TestTimeout(t *testing.T) {
	var left atomic.Int32
	withRemotes(t, func(f *fakeS3, cfg *objstore.RemoteConfig) {
		cfg.Timeout = 250 * time.Millisecond // within which a busy machine answers
		f.before = func(_ http.ResponseWriter, r *http.Request) bool {
			if left.Add(-1) < 0 {
				return false
			}
			_, _ = io.Copy(io.Discard, r.Body) // the server notices that the client is gone only then
			<-r.Context().Done()
			return true
		}
	}, func(t *testing.T, s objstore.Store, _ *fakeS3) {
		left.Store(1)
		require.NoError(t, s.Put(t.Context(), "o.x", bytes.NewReader(random(1000))))
		left.Store(3)
		_, err := s.Stat(t.Context(), "o.x")
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.ErrorContains(t, err, "no answer within 250ms")
		require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's deadline has not passed")
		left.Store(1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err = s.Stat(ctx, "o.x")
		require.ErrorIs(t, err, context.DeadlineExceeded, "it is the caller's")
	})
}

// commits reports whether a request is the commit point of a Put.
func commits(r *http.Request) bool {
	return r.Method == http.MethodPut && !r.URL.Query().Has("partNumber") ||
		r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

// TestLostReply breaks the connection when the store has the object.
func TestLostReply(t *testing.T) {
	var lost atomic.Int32
	withRemotes(t, func(f *fakeS3, _ *objstore.RemoteConfig) {
		f.after = func(r *http.Request) bool { return commits(r) && lost.Add(-1) >= 0 }
	}, func(t *testing.T, s objstore.Store, _ *fakeS3) {
		for name, size := range map[string]int{"one": 1000, "parts": 6 << 20} {
			lost.Store(1)
			require.NoError(t, s.Put(t.Context(), name, unsized(random(size))))
			require.Negative(t, lost.Load(), "%s: no attempt followed on a lost reply", name)
			requireContent(t, s, name, random(size))

			lost.Store(1)
			other := bytes.Repeat([]byte("x"), size)
			require.ErrorIs(t, s.Put(t.Context(), name, unsized(other)), objstore.ErrExists, "the same size is not the same object")
			lost.Store(0)
			require.ErrorIs(t, s.Put(t.Context(), name, unsized(random(size))), objstore.ErrExists, "nothing was unknown")
			requireContent(t, s, name, random(size))
		}
	})
}

// TestMultipart looks at what is sent of a large body.
func TestMultipart(t *testing.T) {
	var mu sync.Mutex
	counts := map[objstore.Class]int{}
	var sent, received int64
	withRemotes(t, func(_ *fakeS3, cfg *objstore.RemoteConfig) {
		clear(counts)
		sent, received = 0, 0
		cfg.Observe = func(r objstore.Request) {
			mu.Lock()
			defer mu.Unlock()
			counts[r.Class]++
			if r.Class == objstore.ClassPut {
				sent += r.Sent
			}
			if r.Class == objstore.ClassGet {
				received += r.Received
			}
		}
	}, func(t *testing.T, s objstore.Store, f *fakeS3) {
		want := random(16 << 20)
		require.NoError(t, s.Put(t.Context(), "large.x", unsized(want)))
		require.Equal(t, map[objstore.Class]int{objstore.ClassPost: 2, objstore.ClassPut: 4}, counts)
		require.Equal(t, int64(16<<20), sent)
		require.NoError(t, s.Put(t.Context(), "known.x", bytes.NewReader(want)))
		require.Equal(t, 5, counts[objstore.ClassPut], "a body that can be read again is one request")
		for _, key := range []string{"large.x", "known.x"} {
			p := make([]byte, len(want))
			_, err := s.ReadAt(t.Context(), key, p, 0)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, p))
		}
		require.Equal(t, int64(32<<20), received)
		require.Empty(t, f.uploads)
	})
}

// TestKnownBody starts in the middle of a body, and has one that is too large for one request.
func TestKnownBody(t *testing.T) {
	withRemotes(t, func(*fakeS3, *objstore.RemoteConfig) {}, func(t *testing.T, s objstore.Store, _ *fakeS3) {
		body := strings.NewReader("skipped, stored")
		_, err := body.Seek(9, io.SeekStart)
		require.NoError(t, err)
		require.NoError(t, s.Put(t.Context(), "o.x", body))
		requireContent(t, s, "o.x", []byte("stored"))

		large := random(64<<20 + 1)
		require.NoError(t, s.Put(t.Context(), "large.x", bytes.NewReader(large)))
		requireContent(t, s, "large.x", large)
	})
}

// TestMultipartAbort breaks uploads off in all ways.
func TestMultipartAbort(t *testing.T) {
	broken := errors.New("disk broken")
	want := random(11 << 20)
	for name, c := range map[string]struct {
		body   func(cancel func()) io.Reader
		refuse func(*http.Request) bool
		err    error
	}{
		"body fails": {
			body: func(func()) io.Reader { return io.MultiReader(bytes.NewReader(want), iotest.ErrReader(broken)) },
			err:  broken,
		},
		"part fails": {
			body:   func(func()) io.Reader { return unsized(want) },
			refuse: func(r *http.Request) bool { return r.URL.Query().Get("partNumber") == "2" },
			err:    objstore.ErrUnavailable,
		},
		"end fails": {
			body:   func(func()) io.Reader { return unsized(want) },
			refuse: func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") },
			err:    objstore.ErrUnavailable,
		},
		"cancelled": {
			body: func(cancel func()) io.Reader {
				return io.MultiReader(bytes.NewReader(want), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }))
			},
			err: context.Canceled,
		},
	} {
		t.Run(name, func(t *testing.T) {
			withRemotes(t, func(f *fakeS3, _ *objstore.RemoteConfig) {
				f.before = func(w http.ResponseWriter, r *http.Request) bool {
					if c.refuse == nil || !c.refuse(r) {
						return false
					}
					fail(w, 503, "SlowDown", "no")
					return true
				}
			}, func(t *testing.T, s objstore.Store, f *fakeS3) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				require.ErrorIs(t, s.Put(ctx, "o.x", c.body(cancel)), c.err)
				f.mu.Lock()
				defer f.mu.Unlock()
				require.Equal(t, 1, f.ids, "an upload was started")
				require.Empty(t, f.uploads)
				require.Empty(t, f.objects)
			})
		})
	}
}

// TestMultipartAbortUnanswered has a store that is away when who uploads has given up, and must go on.
func TestMultipartAbortUnanswered(t *testing.T) {
	withRemotes(t, func(f *fakeS3, cfg *objstore.RemoteConfig) {
		cfg.Timeout = 5 * time.Minute
		f.before = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodDelete {
				return false
			}
			<-r.Context().Done()
			return true
		}
	}, func(t *testing.T, s objstore.Store, _ *fakeS3) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		body := io.MultiReader(bytes.NewReader(random(11<<20)), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }))
		err := s.Put(ctx, "o.x", body)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "stays in the bucket")
		require.Less(t, time.Since(began), time.Minute)
	})
}

// readerFunc is an io.Reader made of a function.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestObserve counts every attempt.
func TestObserve(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	var left atomic.Int32
	withRemotes(t, func(f *fakeS3, cfg *objstore.RemoteConfig) {
		seen = nil
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			switch left.Add(-1) {
			case 1:
				_, _ = io.Copy(io.Discard, r.Body)
				fail(w, 503, "SlowDown", "no")
				return true
			case 0:
				panic(http.ErrAbortHandler)
			}
			return false
		}
		cfg.Observe = func(r objstore.Request) {
			mu.Lock()
			defer mu.Unlock()
			if r.Duration <= 0 {
				t.Errorf("%+v took no time", r)
			}
			seen = append(seen, fmt.Sprintf("%s %d %v %d", r.Class, r.Status, r.Err != nil, r.Sent))
		}
	}, func(t *testing.T, s objstore.Store, _ *fakeS3) {
		left.Store(2)
		require.NoError(t, s.Put(t.Context(), "o.x", strings.NewReader("content")))
		_, err := s.Stat(t.Context(), "o.x")
		require.NoError(t, err)
		_, err = s.Stat(t.Context(), "absent.x")
		require.ErrorIs(t, err, objstore.ErrNotFound)
		_, err = s.ReadAt(t.Context(), "o.x", make([]byte, 3), 2)
		require.NoError(t, err)
		for _, err := range s.List(t.Context(), "", "") {
			require.NoError(t, err)
		}
		require.NoError(t, s.Delete(t.Context(), "o.x"))
		require.Equal(t, []string{
			"PUT 503 false 7", "PUT 0 true 7", "PUT 200 false 7",
			"HEAD 200 false 0", "HEAD 404 false 0", "GET 206 false 0", "LIST 200 false 0", "DELETE 204 false 0",
		}, seen)
	})
}
