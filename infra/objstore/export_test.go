package objstore

import "context"

// OpenUnordered opens a bucket as if its name said that it is a directory bucket, which
// would have the SDK talk to AWS only.
func OpenUnordered(ctx context.Context, cfg S3Config) (Store, error) {
	s, err := openS3(ctx, cfg)
	if err == nil {
		s.unordered = true
	}
	return s, err
}
