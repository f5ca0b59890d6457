package objstore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/forebaylog/forebay/infra/vfs"
)

// URLOptions is what OpenURL needs and a URL does not say.
type URLOptions struct {
	FS     vfs.FS // of file URLs; default vfs.OS()
	Remote RemoteConfig
	// ReadOnly has Put and Delete fail with fs.ErrPermission, and opening change nothing.
	ReadOnly bool
}

// opener opens the URLs of a scheme.
type opener struct {
	scheme string
	params []string // known query parameters
	open   func(ctx context.Context, u *url.URL, opts URLOptions) (Store, error)
}

var openers = []opener{
	{"s3", []string{"region", "endpoint", "path-style"}, openS3URL},
	{"minio", []string{"secure", "region"}, openMinIOURL},
	{"file", nil, openFileURL},
	{"mem", nil, openMemURL},
}

// OpenURL opens the store that a URL names:
//
//	s3://bucket/prefix?region=eu-central-1
//	s3://bucket/prefix?endpoint=http://127.0.0.1:9000&path-style=true
//	minio://host:port/bucket/prefix?secure=true&region=us-east-1
//	file:///directory
//	mem://
//
// What follows the bucket is a prefix of all keys. Credentials come from opts or the
// environment, never from the URL, which appears in logs. It sends nothing: see Probe.
func OpenURL(ctx context.Context, text string, opts URLOptions) (Store, error) {
	s, err := openURL(ctx, text, opts)
	if err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	return s, nil
}

func openURL(ctx context.Context, text string, opts URLOptions) (Store, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("the text is no URL, want for example s3://bucket/prefix") // which may hold a password
	}
	if u.User != nil {
		return nil, fmt.Errorf("URL %s holds credentials, set them in the environment", u.Redacted())
	}
	at := slices.IndexFunc(openers, func(o opener) bool { return o.scheme == u.Scheme })
	if at < 0 {
		return nil, fmt.Errorf("URL %q: unknown scheme %q, known are %s", text, u.Scheme, schemes())
	}
	o := openers[at]
	if err := o.checkQuery(u); err != nil {
		return nil, fmt.Errorf("URL %q: %w", text, err)
	}
	if u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("URL %q: want %s://... without #", text, u.Scheme)
	}
	s, err := o.open(ctx, u, opts)
	if err != nil {
		return nil, fmt.Errorf("URL %q: %w", text, err)
	}
	if opts.ReadOnly {
		return readOnly{s}, nil
	}
	return s, nil
}

func schemes() string {
	var names []string
	for _, o := range openers {
		names = append(names, o.scheme)
	}
	return strings.Join(names, ", ")
}

func (o opener) checkQuery(u *url.URL) error {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	for name, values := range query {
		if !slices.Contains(o.params, name) {
			known := "none"
			if o.params != nil {
				known = strings.Join(o.params, ", ")
			}
			return fmt.Errorf("unknown parameter %q, known for %s are: %s", name, o.scheme, known)
		}
		if len(values) > 1 {
			return fmt.Errorf("parameter %q is there %d times", name, len(values))
		}
	}
	return nil
}

func openS3URL(ctx context.Context, u *url.URL, opts URLOptions) (Store, error) {
	pathStyle, err := boolParam(u, "path-style")
	if err != nil {
		return nil, err
	}
	return OpenS3(ctx, S3Config{
		Bucket: u.Host, Prefix: u.Path, Region: u.Query().Get("region"), Endpoint: u.Query().Get("endpoint"),
		PathStyle: pathStyle, RemoteConfig: opts.Remote,
	})
}

func openMinIOURL(ctx context.Context, u *url.URL, opts URLOptions) (Store, error) {
	secure, err := boolParam(u, "secure")
	if err != nil {
		return nil, err
	}
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if u.Host == "" || bucket == "" {
		return nil, errors.New("want minio://host:port/bucket/prefix")
	}
	return OpenMinIO(ctx, MinIOConfig{
		Address: u.Host, Secure: secure, Bucket: bucket, Prefix: prefix, Region: u.Query().Get("region"), RemoteConfig: opts.Remote,
	})
}

func openFileURL(_ context.Context, u *url.URL, opts URLOptions) (Store, error) {
	if u.Host != "" || u.Path == "" {
		return nil, errors.New("want file:///directory, with three slashes")
	}
	fsys := opts.FS
	if fsys == nil {
		fsys = vfs.OS()
	}
	if opts.ReadOnly {
		return OpenFileReadOnly(fsys, u.Path)
	}
	return OpenFile(fsys, u.Path)
}

func openMemURL(_ context.Context, u *url.URL, _ URLOptions) (Store, error) {
	if u.Host != "" || u.Path != "" {
		return nil, errors.New("want mem:// and nothing behind it")
	}
	return NewMem(), nil
}

func boolParam(u *url.URL, name string) (bool, error) {
	text := u.Query().Get(name)
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("parameter %s=%q: want true or false", name, text)
	}
	return value, nil
}
