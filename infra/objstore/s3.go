package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// S3Config says which bucket of Amazon S3, or of a store that speaks its protocol, to open.
type S3Config struct {
	Bucket string
	// Prefix of all keys, with or without slashes around it; at most 100 bytes.
	Prefix string
	// Region of the bucket; empty for what the SDK finds, or us-east-1 with an Endpoint.
	Region string
	// Endpoint is the URL of a store that is not Amazon's.
	Endpoint string
	// PathStyle puts the bucket in the path and not in the host name.
	PathStyle bool
	RemoteConfig
}

// expressSuffix ends the names of directory buckets of S3 Express One Zone.
const expressSuffix = "--x-s3"

// OpenS3 opens a bucket with the AWS SDK and its chain of credentials. It sends
// nothing to the bucket: see Probe.
//
// Payloads are not signed, which spares a SHA-256 of each byte at both ends: a CRC32C
// in a signed header is checked by the store, and TLS keeps them from being changed on
// purpose.
//
// Directory buckets (S3 Express One Zone) list in no order and know no start, so List
// reads the whole listing below the prefix up to its last slash and sorts it in
// memory: right for a WAL, whose objects are few. This has not been tried on AWS.
func OpenS3(ctx context.Context, cfg S3Config) (Store, error) {
	s, err := openS3(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open bucket %q of S3: %w", cfg.Bucket, err)
	}
	return s, nil
}

func openS3(ctx context.Context, cfg S3Config) (*remote, error) {
	remoteCfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	prefix, err := checkPrefix(cfg.Prefix)
	if err != nil {
		return nil, err
	}
	if cfg.Bucket == "" {
		return nil, errors.New("the name of the bucket is missing")
	}
	if err := checkEndpoint(cfg.Endpoint); err != nil {
		return nil, err
	}
	loaded, err := loadAWS(ctx, cfg)
	if err != nil {
		return nil, err
	}
	place := fmt.Sprintf("bucket %q in region %s", cfg.Bucket, loaded.Region)
	if cfg.Endpoint != "" {
		place = fmt.Sprintf("bucket %q at %s", cfg.Bucket, cfg.Endpoint)
	}
	transport := newTransport()
	store := newRemote(remoteCfg, place, prefix, transport)
	store.unordered = strings.HasSuffix(cfg.Bucket, expressSuffix)
	store.bucket = &s3Bucket{
		name: cfg.Bucket,
		client: s3.NewFromConfig(loaded, func(o *s3.Options) {
			o.HTTPClient = &http.Client{Transport: observed(transport, cfg.Observe), CheckRedirect: keepMethod}
			o.UsePathStyle = cfg.PathStyle
			o.Retryer = aws.NopRetryer{} // remote does
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
			o.ContinueHeaderThresholdBytes = -1 // a round trip for each PUT
			if cfg.Endpoint != "" {
				o.BaseEndpoint = aws.String(cfg.Endpoint)
			}
		}),
	}
	return store, nil
}

func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("endpoint %q is no http:// or https:// URL", endpoint)
	}
	return nil
}

func loadAWS(ctx context.Context, cfg S3Config) (aws.Config, error) {
	var options []func(*config.LoadOptions) error
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	if cfg.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, "")))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("load the AWS configuration: %w", err)
	}
	switch {
	case loaded.Region != "":
	case cfg.Endpoint != "":
		loaded.Region = "us-east-1"
	default:
		return aws.Config{}, errors.New("no region: add region= to the URL or set AWS_REGION")
	}
	loaded.Credentials = awsCredentials{loaded.Credentials}
	return loaded, nil
}

// awsCredentials says what a failure to find credentials means.
type awsCredentials struct{ aws.CredentialsProvider }

func (c awsCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	value, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		err = permanent{fmt.Errorf("%w: no AWS credentials, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role: %w",
			ErrRefused, err)}
	}
	return value, err
}

// keepMethod follows the redirects that keep the method, as the SDK's own client does.
func keepMethod(req *http.Request, via []*http.Request) error {
	code := req.Response.StatusCode
	if len(via) < 3 && (code == http.StatusTemporaryRedirect || code == http.StatusPermanentRedirect) {
		return nil
	}
	return http.ErrUseLastResponse
}

// s3Bucket is a bucket through the AWS SDK.
type s3Bucket struct {
	client *s3.Client
	name   string
}

// unsigned leaves the payload out of the signature.
var unsigned = s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)

func (b *s3Bucket) put(ctx context.Context, name string, u upload) error {
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.name, Key: &name, IfNoneMatch: aws.String("*"),
		Body: u.body, ContentLength: &u.size, ChecksumCRC32C: &u.crc,
	}, unsigned)
	return s3Error(err)
}

func (b *s3Bucket) start(ctx context.Context, name string) (string, error) {
	out, err := b.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &b.name, Key: &name, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c,
	})
	if err != nil {
		return "", s3Error(err)
	}
	return aws.ToString(out.UploadId), nil
}

func (b *s3Bucket) putPart(ctx context.Context, name, id string, number int, u upload) (string, error) {
	out, err := b.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &b.name, Key: &name, UploadId: &id, PartNumber: aws.Int32(int32(number)),
		Body: u.body, ContentLength: &u.size, ChecksumCRC32C: &u.crc,
	}, unsigned)
	if err != nil {
		return "", s3Error(err)
	}
	return aws.ToString(out.ETag), nil
}

func (b *s3Bucket) complete(ctx context.Context, name, id string, parts []part) error {
	completed := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		completed[i] = types.CompletedPart{
			PartNumber: aws.Int32(int32(p.number)), ETag: aws.String(p.etag), ChecksumCRC32C: aws.String(p.crc),
		}
	}
	_, err := b.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &b.name, Key: &name, UploadId: &id, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: completed},
	})
	return s3Error(err)
}

func (b *s3Bucket) abort(ctx context.Context, name, id string) error {
	_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.name, Key: &name, UploadId: &id})
	return s3Error(err)
}

func (b *s3Bucket) unfinished(ctx context.Context, after uploadsAfter) (uploadsPage, error) {
	in := &s3.ListMultipartUploadsInput{Bucket: &b.name}
	if after != (uploadsAfter{}) {
		in.KeyMarker, in.UploadIdMarker = &after.name, &after.id
	}
	out, err := b.client.ListMultipartUploads(ctx, in)
	if err != nil {
		return uploadsPage{}, s3Error(err)
	}
	page := uploadsPage{
		more: aws.ToBool(out.IsTruncated),
		next: uploadsAfter{aws.ToString(out.NextKeyMarker), aws.ToString(out.NextUploadIdMarker)},
	}
	for _, u := range out.Uploads {
		page.uploads = append(page.uploads, Upload{Key: aws.ToString(u.Key), ID: aws.ToString(u.UploadId), Begun: aws.ToTime(u.Initiated)})
	}
	return page, nil
}

func (b *s3Bucket) get(ctx context.Context, name string, off, length int64) (io.ReadCloser, int64, error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &b.name, Key: &name, Range: aws.String(byteRange(off, length)),
	})
	if err != nil {
		return nil, 0, s3Error(err)
	}
	size, err := sizeInRange(aws.ToString(out.ContentRange), off)
	if err != nil {
		_ = out.Body.Close()
		return nil, 0, err
	}
	return out.Body, size, nil
}

func (b *s3Bucket) head(ctx context.Context, name string) (head, error) {
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: &b.name, Key: &name, ChecksumMode: types.ChecksumModeEnabled,
	})
	if err != nil {
		return head{}, s3Error(err)
	}
	return head{size: aws.ToInt64(out.ContentLength), modified: aws.ToTime(out.LastModified), crc: aws.ToString(out.ChecksumCRC32C)}, nil
}

func (b *s3Bucket) list(ctx context.Context, s span, next string) (listing, error) {
	in := &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: &s.prefix, EncodingType: types.EncodingTypeUrl}
	if s.after != "" {
		in.StartAfter = &s.after
	}
	if next != "" {
		in.ContinuationToken = &next
	}
	out, err := b.client.ListObjectsV2(ctx, in)
	if err != nil {
		return listing{}, s3Error(err)
	}
	page := listing{objects: make([]Info, len(out.Contents))}
	for i, o := range out.Contents {
		name := aws.ToString(o.Key)
		if out.EncodingType == types.EncodingTypeUrl {
			if name, err = url.QueryUnescape(name); err != nil {
				return listing{}, fmt.Errorf("name in the listing: %w", err)
			}
		}
		page.objects[i] = Info{Key: name, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}
	}
	if aws.ToBool(out.IsTruncated) {
		page.next = aws.ToString(out.NextContinuationToken)
	}
	return page, nil
}

func (b *s3Bucket) remove(ctx context.Context, name string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: &name})
	return s3Error(err)
}

// s3Error puts the store's reply into an error of the SDK, if there was one.
func s3Error(err error) error {
	var resp *awshttp.ResponseError
	if !errors.As(err, &resp) || resp.Response == nil || resp.Response.Response == nil {
		return err
	}
	r := &reply{status: resp.HTTPStatusCode(), region: resp.Response.Header.Get("X-Amz-Bucket-Region"), cause: err}
	var api smithy.APIError
	switch {
	case errors.As(err, &api):
		r.code, r.message = api.ErrorCode(), api.ErrorMessage()
	case r.status < http.StatusMultipleChoices:
		return err // a success that could not be read
	}
	return r
}

// byteRange is the header for length bytes from off.
func byteRange(off, length int64) string {
	return "bytes=" + strconv.FormatInt(off, 10) + "-" + strconv.FormatInt(off+length-1, 10)
}

// sizeInRange returns the size of the object in a Content-Range that begins at off.
func sizeInRange(header string, off int64) (int64, error) {
	begin, size, ok := strings.Cut(header, "/")
	if !ok || !strings.HasPrefix(begin, "bytes "+strconv.FormatInt(off, 10)+"-") {
		return 0, fmt.Errorf("asked for a range from %d and got Content-Range %q", off, header)
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("size of the object in Content-Range %q: %w", header, err)
	}
	return n, nil
}
