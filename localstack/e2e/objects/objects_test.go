//go:build e2e

package objects

import (
	"bytes"
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

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/objstore/objstoretest"
	"github.com/forebaylog/forebay/localstack/rig"
)

func TestConformance(t *testing.T) {
	withDrivers(t, func(t *testing.T, open driver) {
		objstoretest.Run(t, func(t *testing.T) objstore.Store {
			return open(t, server.Addr, rig.MinIOBucket, fresh(), keys())
		})
	})
}

func TestURLs(t *testing.T) {
	for _, env := range server.Env() {
		name, value, _ := strings.Cut(env, "=")
		t.Setenv(name, value)
	}
	prefix := fresh()
	for i, url := range []string{server.URL(prefix), server.S3URL(prefix)} {
		s, err := objstore.OpenURL(t.Context(), url, objstore.URLOptions{})
		require.NoError(t, err)
		require.NoError(t, objstore.Probe(t.Context(), s))
		require.NoError(t, s.Put(t.Context(), fmt.Sprint(i, ".x"), strings.NewReader("x")))
		listed := 0
		for _, err := range s.List(t.Context(), "", "") {
			require.NoError(t, err)
			listed++
		}
		require.Equal(t, i+1, listed, "both see the objects of both and nothing of the probe")
		require.NoError(t, s.Close())
	}
}

// random returns bytes that differ everywhere.
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

// counter counts requests by class.
type counter struct {
	mu     sync.Mutex
	counts map[objstore.Class]int
}

func (c *counter) observe(r objstore.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[objstore.Class]int{}
	}
	c.counts[r.Class]++
}

func TestMultipart(t *testing.T) {
	withDrivers(t, func(t *testing.T, open driver) {
		var requests counter
		cfg := keys()
		cfg.PartSize, cfg.Observe = 5<<20, requests.observe
		s := openFresh(t, open, server.Addr, cfg)
		want := random(16 << 20)
		require.NoError(t, s.Put(t.Context(), "large.pack", unsized(want)))
		require.Equal(t, map[objstore.Class]int{objstore.ClassPost: 2, objstore.ClassPut: 4}, requests.counts)
		requireContent(t, s, "large.pack", want)

		require.ErrorIs(t, s.Put(t.Context(), "large.pack", unsized(random(11<<20))), objstore.ErrExists)
		requireContent(t, s, "large.pack", want)

		broken := errors.New("disk broken")
		body := io.MultiReader(bytes.NewReader(want), iotest.ErrReader(broken))
		require.ErrorIs(t, s.Put(t.Context(), "broken.pack", body), broken)
		_, err := s.Stat(t.Context(), "broken.pack")
		require.ErrorIs(t, err, objstore.ErrNotFound)

		exact := want[:10<<20] // ends where a part does
		require.NoError(t, s.Put(t.Context(), "exact.pack", unsized(exact)))
		requireContent(t, s, "exact.pack", exact)
	})
}

// TestConcurrentMultipart has uploads race for one name.
func TestConcurrentMultipart(t *testing.T) {
	withDrivers(t, func(t *testing.T, open driver) {
		cfg := keys()
		cfg.PartSize = 5 << 20
		s := openFresh(t, open, server.Addr, cfg)
		var wins atomic.Int32
		var group errgroup.Group
		for i := range 3 {
			group.Go(func() error {
				err := s.Put(t.Context(), "one.pack", unsized(bytes.Repeat([]byte{byte(i)}, 6<<20)))
				if err == nil {
					wins.Add(1)
				} else if !errors.Is(err, objstore.ErrExists) {
					return err
				}
				return nil
			})
		}
		require.NoError(t, group.Wait())
		require.EqualValues(t, 1, wins.Load())
	})
}

// TestListPages lists more than fits one answer.
func TestListPages(t *testing.T) {
	withDrivers(t, func(t *testing.T, open driver) {
		var requests counter
		cfg := keys()
		cfg.Observe = requests.observe
		s := openFresh(t, open, server.Addr, cfg)
		var group errgroup.Group
		group.SetLimit(8)
		const objects = 1_200
		for i := range objects {
			group.Go(func() error { return s.Put(t.Context(), fmt.Sprintf("o/%04d", i), strings.NewReader("")) })
		}
		require.NoError(t, group.Wait())
		next := 0
		for info, err := range s.List(t.Context(), "o/", "") {
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("o/%04d", next), info.Key)
			next++
		}
		require.Equal(t, objects, next)
		require.Equal(t, 2, requests.counts[objstore.ClassList])
	})
}

// TestDamage changes bytes on the way: the server must find out.
func TestDamage(t *testing.T) {
	withDrivers(t, func(t *testing.T, open driver) {
		var left atomic.Int32
		network := badNetwork{damage: func(r *http.Request) bool { return r.Method == http.MethodPut && left.Add(-1) >= 0 }}
		cfg := keys()
		cfg.Attempts, cfg.PartSize = 3, 5<<20
		s := openFresh(t, open, network.start(t), cfg)
		for name, body := range map[string][]byte{"one request": random(1 << 20), "parts": random(6 << 20)} {
			left.Store(2)
			require.NoError(t, s.Put(t.Context(), name, unsized(body)))
			require.Negative(t, left.Load(), "%s: nothing was damaged", name)
			requireContent(t, s, name, body)

			left.Store(1000)
			require.ErrorIs(t, s.Put(t.Context(), "never", unsized(body)), objstore.ErrUnavailable)
			_, err := s.Stat(t.Context(), "never")
			require.ErrorIs(t, err, objstore.ErrNotFound)
		}
	})
}

// TestLostReply breaks the connection when the server has stored the object. Put must
// find that the object is its own, and that one of another is not.
func TestLostReply(t *testing.T) {
	withDrivers(t, func(t *testing.T, open driver) {
		var lost atomic.Int32
		network := badNetwork{lose: func(r *http.Request) bool {
			commits := r.Method == http.MethodPut && !r.URL.Query().Has("partNumber") ||
				r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
			return commits && lost.Add(-1) >= 0
		}}
		cfg := keys()
		cfg.PartSize = 5 << 20
		s := openFresh(t, open, network.start(t), cfg)
		for name, size := range map[string]int{"one request": 1 << 20, "parts": 6 << 20} {
			lost.Store(1)
			require.NoError(t, s.Put(t.Context(), name, unsized(random(size))))
			require.Negative(t, lost.Load(), "%s: no attempt followed on a lost reply", name)
			requireContent(t, s, name, random(size))

			lost.Store(1)
			other := bytes.Repeat([]byte("x"), size)
			require.ErrorIs(t, s.Put(t.Context(), name, unsized(other)), objstore.ErrExists)
			requireContent(t, s, name, random(size))
		}
	})
}

func TestStartFailures(t *testing.T) {
	free, err := rig.FreeAddr()
	require.NoError(t, err)
	withDrivers(t, func(t *testing.T, open driver) {
		good := keys()
		good.Attempts = 2
		badSecret, badKey := good, good
		badSecret.SecretKey = "not-the-secret"
		badKey.AccessKey = "nobody-at-all"
		for name, c := range map[string]struct {
			addr, bucket string
			cfg          objstore.RemoteConfig
			want         error
			text         string
		}{
			"no bucket":   {server.Addr, "no-such-bucket", good, objstore.ErrNoBucket, "create it"},
			"bad secret":  {server.Addr, rig.MinIOBucket, badSecret, objstore.ErrRefused, "correct the access key and its secret"},
			"bad key":     {server.Addr, rig.MinIOBucket, badKey, objstore.ErrRefused, "correct the access key and its secret"},
			"unreachable": {free, rig.MinIOBucket, good, objstore.ErrUnavailable, "check the endpoint"},
		} {
			t.Run(name, func(t *testing.T) {
				s := open(t, c.addr, c.bucket, fresh(), c.cfg)
				err := objstore.Probe(t.Context(), s)
				require.ErrorIs(t, err, c.want)
				require.ErrorContains(t, err, c.text)
				require.NoError(t, s.Close())
			})
		}
	})
}

func TestWrongRegion(t *testing.T) {
	for _, url := range []string{server.URL(fresh()) + "?region=eu-west-1", server.S3URL(fresh()) + "&region=eu-west-1"} {
		s, err := objstore.OpenURL(t.Context(), url, objstore.URLOptions{Remote: keys()})
		require.NoError(t, err)
		err = objstore.Probe(t.Context(), s)
		require.NoError(t, s.Close())
		require.ErrorIs(t, err, objstore.ErrRefused)
		require.ErrorContains(t, err, "region=us-east-1")
	}
}
