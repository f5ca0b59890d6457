package objstore_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
)

func TestOpenURL(t *testing.T) {
	fake := &fakeS3{}
	addr := fake.start(t)
	fsys := vfs.NewMem()
	for _, url := range []string{
		"mem://", "file:///data/objects",
		"minio://" + addr + "/b-b/some/prefix", "minio://" + addr + "/b-b?secure=false&region=eu-central-1",
		"s3://b-b/some/other/?path-style=true&region=eu-central-1&endpoint=http://" + addr,
	} {
		t.Run(url, func(t *testing.T) {
			s, err := objstore.OpenURL(t.Context(), url, objstore.URLOptions{FS: fsys, Remote: quick()})
			require.NoError(t, err)
			require.NoError(t, objstore.Probe(t.Context(), s))
			require.NoError(t, s.Put(t.Context(), "o.x", strings.NewReader("x")))
			require.NoError(t, s.Close())
		})
	}
	require.Contains(t, fake.objects, "some/prefix/o.x")
	require.Contains(t, fake.objects, "o.x")
	require.Contains(t, fake.objects, "some/other/o.x")
	_, err := fsys.Stat("/data/objects/o.x")
	require.NoError(t, err)
}

func TestOpenURLRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"gs://bucket":                               "known are s3, minio, file, mem",
		"/data":                                     "known are s3, minio, file, mem",
		"s3://bucket?zone=1":                        "known for s3 are: region, endpoint, path-style",
		"minio://host/bucket?path-style=true":       "known for minio are: secure, region",
		"file:///data?x=1":                          "known for file are: none",
		"s3://bucket?region=a&region=b":             "2 times",
		"s3://bucket?path-style=perhaps":            "want true or false",
		"s3://?region=eu-west-1":                    "name of the bucket is missing",
		"s3://bucket?endpoint=localhost":            "no http:// or https:// URL",
		"s3://bucket/a//b?region=eu-west-1":         "invalid object key",
		"s3://key:secret@bucket":                    "set them in the environment",
		"minio://host:9000":                         "want minio://host:port/bucket/prefix",
		"minio://host:9000/Bad_Bucket":              "name of the bucket",
		"file://data":                               "three slashes",
		"mem://data":                                "nothing behind it",
		"s3://bucket#x":                             "without #",
		"minio://h/b-b/" + strings.Repeat("p", 101): "the limit is 100",
	} {
		_, err := objstore.OpenURL(t.Context(), url, objstore.URLOptions{Remote: quick()})
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "secret", url)
	}
}

// TestCredentials come from the environment if not from the configuration.
func TestCredentials(t *testing.T) {
	for _, name := range []string{
		"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	_, err := objstore.OpenURL(t.Context(), "minio://host/bucket", objstore.URLOptions{})
	require.ErrorIs(t, err, objstore.ErrRefused)
	require.ErrorContains(t, err, "set MINIO_ACCESS_KEY and MINIO_SECRET_KEY")

	_, err = objstore.OpenURL(t.Context(), "s3://bucket", objstore.URLOptions{})
	require.ErrorContains(t, err, "no region")
	s, err := objstore.OpenURL(t.Context(), "s3://bucket?region=eu-west-1", objstore.URLOptions{})
	require.NoError(t, err)
	err = objstore.Probe(t.Context(), s)
	require.ErrorIs(t, err, objstore.ErrRefused)
	require.ErrorContains(t, err, "set AWS_ACCESS_KEY_ID")
	require.NoError(t, s.Close())

	for user, secret := range map[string]string{
		"MINIO_ACCESS_KEY": "MINIO_SECRET_KEY", "MINIO_ROOT_USER": "MINIO_ROOT_PASSWORD", "AWS_ACCESS_KEY_ID": "AWS_SECRET_ACCESS_KEY",
	} {
		t.Run(user, func(t *testing.T) {
			t.Setenv(user, "user")
			t.Setenv(secret, "secret")
			s, err := objstore.OpenURL(t.Context(), "minio://host/bucket", objstore.URLOptions{})
			require.NoError(t, err)
			require.NoError(t, s.Close())
		})
	}
}
