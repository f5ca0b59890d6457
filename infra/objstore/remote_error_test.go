package objstore_test

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/objstore"
)

// TestRefusals has the store answer as S3 and MinIO do when something is set up wrong.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		code, said string
		region     string // in the header
		want       error
		text       string
	}{
		"bucket":      {404, "NoSuchBucket", "The specified bucket does not exist", "", objstore.ErrNoBucket, "create it or correct its name"},
		"access":      {403, "AccessDenied", "Access Denied", "", objstore.ErrRefused, "allow s3:GetObject"},
		"redirect":    {301, "PermanentRedirect", "use the specified endpoint", "ap-south-1", objstore.ErrRefused, "region=ap-south-1"},
		"malformed":   {400, "AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'eu-west-3'", "", objstore.ErrRefused, "region=eu-west-3"},
		"some region": {400, "AuthorizationHeaderMalformed", "the region is wrong", "", objstore.ErrRefused, "the region is wrong, open"},
		"key":         {403, "InvalidAccessKeyId", "does not exist in our records", "", objstore.ErrRefused, "correct the access key"},
		"secret":      {403, "SignatureDoesNotMatch", "the signature does not match", "", objstore.ErrRefused, "correct the access key"},
		"session":     {400, "ExpiredToken", "The provided token has expired", "", objstore.ErrRefused, "renew the session token"},
		"clock":       {403, "RequestTimeTooSkewed", "The difference is too large", "", objstore.ErrRefused, "synchronize this machine's clock"},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			withRemotes(t, func(f *fakeS3, cfg *objstore.RemoteConfig) {
				f.before = func(w http.ResponseWriter, _ *http.Request) bool {
					if c.region != "" {
						w.Header().Set("X-Amz-Bucket-Region", c.region)
					}
					fail(w, c.status, c.code, c.said)
					return true
				}
				requests = 0
				cfg.Observe = func(objstore.Request) { requests++ }
				cfg.Attempts = 1 // the SDK of MinIO pauses behind an expired token
			}, func(t *testing.T, s objstore.Store, _ *fakeS3) {
				err := s.Put(t.Context(), "o.x", strings.NewReader("x"))
				require.ErrorIs(t, err, c.want)
				require.ErrorContains(t, err, c.text)
				require.ErrorContains(t, err, c.said)
				require.ErrorContains(t, err, `bucket "b-b"`)
				require.Equal(t, 1, requests)
				err = objstore.Probe(t.Context(), s)
				require.ErrorIs(t, err, c.want)
			})
		})
	}
}

// TestRefusedOnce does not try again what cannot succeed.
func TestRefusedOnce(t *testing.T) {
	requests := 0
	withRemotes(t, func(f *fakeS3, cfg *objstore.RemoteConfig) {
		requests = 0
		f.before = func(w http.ResponseWriter, _ *http.Request) bool {
			requests++
			fail(w, 403, "AccessDenied", "Access Denied")
			return true
		}
	}, func(t *testing.T, s objstore.Store, _ *fakeS3) {
		_, err := s.ReadAt(t.Context(), "o.x", make([]byte, 1), 0)
		require.ErrorIs(t, err, objstore.ErrRefused)
		require.Equal(t, 1, requests)
		_, err = s.Stat(t.Context(), "o.x") // whose reply has no code
		require.ErrorIs(t, err, objstore.ErrRefused)
	})
}

func TestMissingBucketIsNoMissingObject(t *testing.T) {
	withRemotes(t, func(f *fakeS3, _ *objstore.RemoteConfig) {
		f.before = func(w http.ResponseWriter, _ *http.Request) bool {
			fail(w, 404, "NoSuchBucket", "The specified bucket does not exist")
			return true
		}
	}, func(t *testing.T, s objstore.Store, _ *fakeS3) {
		_, err := s.ReadAt(t.Context(), "o.x", make([]byte, 1), 0)
		require.ErrorIs(t, err, objstore.ErrNoBucket)
		require.NotErrorIs(t, err, objstore.ErrNotFound)
		require.ErrorIs(t, s.Delete(t.Context(), "o.x"), objstore.ErrNoBucket)
		for _, err := range s.List(t.Context(), "", "") {
			require.ErrorIs(t, err, objstore.ErrNoBucket)
		}
	})
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	for name, open := range remotes {
		t.Run(name, func(t *testing.T) {
			s := open(t, addr, quick())
			err := s.Put(t.Context(), "o.x", strings.NewReader("x"))
			require.ErrorIs(t, err, objstore.ErrUnavailable)
			require.ErrorContains(t, err, "check the endpoint")
			require.ErrorContains(t, err, "connection refused")
			var cause *net.OpError
			require.ErrorAs(t, err, &cause, "the cause is wrapped")
			require.NoError(t, s.Close())
			require.ErrorIs(t, s.Put(t.Context(), "o.x", strings.NewReader("x")), fs.ErrClosed)
		})
	}
}

func TestProbe(t *testing.T) {
	require.NoError(t, objstore.Probe(t.Context(), objstore.NewMem()))
	for name, kind := range map[string]objstore.Kind{
		"put": objstore.OpPut, "read": objstore.OpRead, "list": objstore.OpList, "delete": objstore.OpDelete,
	} {
		t.Run(name, func(t *testing.T) {
			s := objstore.Inject(objstore.NewMem(), func(op objstore.Op) error {
				if op.Kind == kind {
					return objstore.ErrRefused
				}
				return nil
			})
			require.ErrorIs(t, objstore.Probe(t.Context(), s), objstore.ErrRefused)
		})
	}
	require.ErrorContains(t, objstore.Probe(t.Context(), &overwriting{objstore.NewMem()}), "must refuse a PUT with If-None-Match")
}

// TestProbeLeavesNothing also when it fails.
func TestProbeLeavesNothing(t *testing.T) {
	m := objstore.NewMem()
	s := objstore.Inject(m, func(op objstore.Op) error {
		if op.Kind == objstore.OpRead {
			return objstore.ErrRefused
		}
		return nil
	})
	require.Error(t, objstore.Probe(t.Context(), s))
	require.NoError(t, objstore.Probe(t.Context(), m))
	for info, err := range m.List(t.Context(), "", "") {
		require.NoError(t, err)
		t.Errorf("%s is left", info.Key)
	}
}

// overwriting is a store that replaces objects.
type overwriting struct{ *objstore.Mem }

func (o *overwriting) Put(ctx context.Context, key string, body io.Reader) error {
	if err := o.Delete(ctx, key); err != nil {
		return err
	}
	return o.Mem.Put(ctx, key, body)
}
