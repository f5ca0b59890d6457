package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// MinIOConfig says which bucket of a MinIO server to open.
type MinIOConfig struct {
	// Address is host:port of the server.
	Address string
	// Secure is whether it speaks TLS.
	Secure bool
	Bucket string
	// Prefix of all keys, with or without slashes around it; at most 100 bytes.
	Prefix string
	// Region that the server is configured with; default us-east-1.
	Region string
	RemoteConfig
}

// OpenMinIO opens a bucket with MinIO's SDK. Without keys in the configuration they
// are those of MINIO_ROOT_USER and MINIO_ROOT_PASSWORD, MINIO_ACCESS_KEY and
// MINIO_SECRET_KEY, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or of the file of
// AWS's tools. It sends nothing to the server: see Probe. Payloads are not signed, as
// by OpenS3.
func OpenMinIO(_ context.Context, cfg MinIOConfig) (Store, error) {
	s, _, err := openMinIO(cfg)
	if err != nil {
		return nil, fmt.Errorf("open bucket %q of MinIO at %s: %w", cfg.Bucket, cfg.Address, err)
	}
	return s, nil
}

// CreateBucket makes the bucket of cfg. It is no error if it is there.
func CreateBucket(ctx context.Context, cfg MinIOConfig) error {
	s, core, err := openMinIO(cfg)
	if err == nil {
		defer func() { _ = s.Close() }() // never fails
		err = s.try(ctx, 0, func(ctx context.Context) error {
			err := minioError(core.MakeBucket(ctx, cfg.Bucket, minio.MakeBucketOptions{}))
			if r := replyOf(err); r != nil && r.code == "BucketAlreadyOwnedByYou" {
				return nil
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("create bucket %q of MinIO at %s: %w", cfg.Bucket, cfg.Address, err)
	}
	return nil
}

func openMinIO(cfg MinIOConfig) (*remote, *minio.Core, error) {
	remoteCfg, err := cfg.withDefaults()
	if err != nil {
		return nil, nil, err
	}
	prefix, err := checkPrefix(cfg.Prefix)
	if err != nil {
		return nil, nil, err
	}
	if err := s3utils.CheckValidBucketNameStrict(cfg.Bucket); err != nil {
		return nil, nil, fmt.Errorf("name of the bucket: %w", err)
	}
	keys, err := minioKeys(cfg)
	if err != nil {
		return nil, nil, err
	}
	setDefault(&cfg.Region, "us-east-1")
	transport := newTransport()
	core, err := minio.NewCore(cfg.Address, &minio.Options{
		Creds: keys, Secure: cfg.Secure, Region: cfg.Region, BucketLookup: minio.BucketLookupPath,
		Transport:  observed(transport, cfg.Observe),
		MaxRetries: 1, // remote does; the SDK pauses up to 200 ms behind a failed attempt all the same
	})
	if err != nil {
		return nil, nil, err
	}
	place := fmt.Sprintf("bucket %q at %s", cfg.Bucket, core.EndpointURL())
	store := newRemote(remoteCfg, place, prefix, transport)
	store.bucket = &minioBucket{core: core, name: cfg.Bucket}
	return store, core, nil
}

// minioKeys refuses to go on without keys, because the SDK would send requests without signature.
func minioKeys(cfg MinIOConfig) (*credentials.Credentials, error) {
	if cfg.AccessKey != "" {
		return credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, ""), nil
	}
	chain := credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvMinio{}, &credentials.EnvAWS{}, &credentials.FileAWSCredentials{},
	})
	value, err := chain.GetWithContext(nil)
	if err == nil && value.AccessKeyID == "" {
		err = errors.New("none found")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: no credentials, set MINIO_ACCESS_KEY and MINIO_SECRET_KEY: %w", ErrRefused, err)
	}
	return chain, nil
}

// minioBucket is a bucket through MinIO's SDK.
type minioBucket struct {
	core *minio.Core
	name string
}

const crcHeader = "X-Amz-Checksum-Crc32c"

func onlyNew(metadata map[string]string) minio.PutObjectOptions {
	opts := minio.PutObjectOptions{UserMetadata: metadata, DisableContentSha256: true}
	opts.SetMatchETagExcept("*")
	return opts
}

func (b *minioBucket) put(ctx context.Context, name string, u upload) error {
	_, err := b.core.PutObject(ctx, b.name, name, u.body, u.size, "", "", onlyNew(map[string]string{crcHeader: u.crc}))
	return minioError(err)
}

func (b *minioBucket) start(ctx context.Context, name string) (string, error) {
	id, err := b.core.NewMultipartUpload(ctx, b.name, name, minio.PutObjectOptions{
		UserMetadata: map[string]string{"X-Amz-Checksum-Algorithm": "CRC32C"},
	})
	return id, minioError(err)
}

func (b *minioBucket) putPart(ctx context.Context, name, id string, number int, u upload) (string, error) {
	p, err := b.core.PutObjectPart(ctx, b.name, name, id, number, u.body, u.size, minio.PutObjectPartOptions{
		CustomHeader: http.Header{crcHeader: {u.crc}}, DisableContentSha256: true,
	})
	return p.ETag, minioError(err)
}

func (b *minioBucket) complete(ctx context.Context, name, id string, parts []part) error {
	completed := make([]minio.CompletePart, len(parts))
	for i, p := range parts {
		completed[i] = minio.CompletePart{PartNumber: p.number, ETag: p.etag, ChecksumCRC32C: p.crc}
	}
	_, err := b.core.CompleteMultipartUpload(ctx, b.name, name, id, completed, onlyNew(nil))
	return minioError(err)
}

func (b *minioBucket) abort(ctx context.Context, name, id string) error {
	return minioError(b.core.AbortMultipartUpload(ctx, b.name, name, id))
}

func (b *minioBucket) unfinished(ctx context.Context, after uploadsAfter) (uploadsPage, error) {
	out, err := b.core.ListMultipartUploads(ctx, b.name, "", after.name, after.id, "", listedAtMax)
	if err != nil {
		return uploadsPage{}, minioError(err)
	}
	page := uploadsPage{more: out.IsTruncated, next: uploadsAfter{out.NextKeyMarker, out.NextUploadIDMarker}}
	for _, u := range out.Uploads {
		page.uploads = append(page.uploads, Upload{Key: u.Key, ID: u.UploadID, Begun: u.Initiated})
	}
	return page, nil
}

func (b *minioBucket) get(ctx context.Context, name string, off, length int64) (io.ReadCloser, int64, error) {
	var opts minio.GetObjectOptions
	opts.Set("Range", byteRange(off, length))
	body, _, header, err := b.core.GetObject(ctx, b.name, name, opts)
	if err != nil {
		return nil, 0, minioError(err)
	}
	size, err := sizeInRange(header.Get("Content-Range"), off)
	if err != nil {
		_ = body.Close()
		return nil, 0, err
	}
	return body, size, nil
}

func (b *minioBucket) head(ctx context.Context, name string) (head, error) {
	info, err := b.core.StatObject(ctx, b.name, name, minio.StatObjectOptions{Checksum: true})
	if err != nil {
		return head{}, minioError(err)
	}
	return head{size: info.Size, modified: info.LastModified, crc: info.ChecksumCRC32C}, nil
}

// listedAtMax is the names in one LIST.
const listedAtMax = 1000

// list continues behind the last name: the SDK's list of one page takes no context.
func (b *minioBucket) list(ctx context.Context, s span, next string) (listing, error) {
	owner := false
	opts := minio.ListObjectsOptions{
		Prefix: s.prefix, Recursive: true, StartAfter: max(s.after, next), MaxKeys: listedAtMax, FetchOwner: &owner,
	}
	var page listing
	for o := range b.core.ListObjectsIter(ctx, b.name, opts) {
		if o.Err != nil {
			return listing{}, minioError(o.Err)
		}
		page.objects = append(page.objects, Info{Key: o.Key, Size: o.Size, Modified: o.LastModified})
		if len(page.objects) == listedAtMax {
			page.next = o.Key
			break
		}
	}
	if ctx.Err() != nil { // which the iterator takes for the end
		return listing{}, context.Cause(ctx)
	}
	return page, nil
}

func (b *minioBucket) remove(ctx context.Context, name string) error {
	return minioError(b.core.RemoveObject(ctx, b.name, name, minio.RemoveObjectOptions{}))
}

// minioError puts the store's reply into an error of the SDK, if there was one.
func minioError(err error) error {
	var resp minio.ErrorResponse
	if !errors.As(err, &resp) {
		return err
	}
	return &reply{status: resp.StatusCode, code: resp.Code, message: resp.Message, region: resp.Region, cause: err}
}
