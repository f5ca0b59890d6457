package objstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
)

// Errors of the drivers for stores that are reached through a network. Their text
// says what to do.
var (
	// ErrNoBucket: the bucket does not exist.
	ErrNoBucket = errors.New("no such bucket")
	// ErrRefused: the store refuses this configuration: its credentials, rights, region or clock.
	// Trying again does not help.
	ErrRefused = errors.New("refused by the object store")
	// ErrUnavailable: the store does not answer, or answers that it cannot now, after all attempts.
	// For a Put the outcome is unknown.
	ErrUnavailable = errors.New("object store unavailable")
)

// reply is an answer of the store other than success.
type reply struct {
	status  int
	code    string // such as NoSuchKey; may be empty for HEAD
	message string
	region  string // the bucket's, if the store names it
	cause   error  // the SDK's
}

func (r *reply) Error() string { return fmt.Sprintf("status %d %s: %s", r.status, r.code, r.message) }

func (r *reply) Unwrap() error { return r.cause }

// expectedRegion is how S3 and MinIO name the right region in a message.
var expectedRegion = regexp.MustCompile(`expecting '([a-z0-9-]+)'`)

// rightRegion returns the region that the store says the bucket is in, or "".
func (r *reply) rightRegion() string {
	if m := expectedRegion.FindStringSubmatch(r.message); m != nil {
		return m[1]
	}
	return r.region
}

// replyOf returns the reply in err, nil if there was none.
func replyOf(err error) *reply {
	var r *reply
	errors.As(err, &r)
	return r
}

// permanent marks an error that another attempt cannot mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// The codes that decide, each with what is done about it.
var (
	codesOfBusy = []string{
		"BadDigest", "XAmzContentChecksumMismatch", "ConditionalRequestConflict", "OperationAborted",
		"RequestTimeout", "SlowDown", "SlowDownRead", "SlowDownWrite", "IncompleteBody",
	}
	codesOfAccess      = []string{"AccessDenied", "AllAccessDisabled", "AccountProblem"}
	codesOfCredentials = []string{
		"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "XMinioInvalidIAMCredentials",
	}
	codesOfRegion = []string{"PermanentRedirect", "AuthorizationHeaderMalformed", "InvalidRegion", "IllegalLocationConstraintException"}
	codesOfClock  = []string{"RequestTimeTooSkewed", "RequestExpired"}
)

// retryable reports whether another attempt may succeed.
func retryable(err error) bool {
	if errors.Is(err, ErrExists) || errors.Is(err, ErrNotFound) || errors.As(err, new(permanent)) {
		return false
	}
	r := replyOf(err)
	return r == nil || r.status >= http.StatusInternalServerError || r.status < http.StatusMultipleChoices ||
		r.status == http.StatusTooManyRequests || slices.Contains(codesOfBusy, r.code)
}

// outcomeUnknown reports whether a write that failed with err may have been done. A
// reply with a 4xx status says that it was not.
func outcomeUnknown(err error) bool {
	r := replyOf(err)
	return r == nil || r.status < http.StatusMultipleChoices || r.status >= http.StatusInternalServerError
}

// isMissing reports whether err says that an object is absent. A reply to HEAD has no
// code, so that a bucket that is missing looks the same on Amazon S3.
func isMissing(err error) bool {
	r := replyOf(err)
	return r != nil && r.status == http.StatusNotFound && r.code != "NoSuchBucket" && r.code != "NoSuchUpload"
}

func hasStatus(err error, status int) bool {
	r := replyOf(err)
	return r != nil && r.status == status
}

// explain adds to an error what to do about it. place is the bucket and its store.
func explain(err error, place string) error {
	if errors.Is(err, ErrExists) || errors.Is(err, ErrNotFound) || errors.As(err, new(permanent)) {
		return err
	}
	r := replyOf(err)
	if r == nil {
		return fmt.Errorf("%w: no answer from %s, check the endpoint, the region and the network: %w", ErrUnavailable, place, err)
	}
	has := func(codes []string) bool { return slices.Contains(codes, r.code) }
	switch {
	case r.code == "NoSuchBucket":
		return fmt.Errorf("%w: %s, create it or correct its name: %w", ErrNoBucket, place, err)
	case has(codesOfRegion) || r.status == http.StatusMovedPermanently:
		return fmt.Errorf("%w: %s: %s: %w", ErrRefused, place, regionHint(r), err)
	case has(codesOfCredentials):
		return fmt.Errorf("%w: %s does not accept the credentials, correct the access key and its secret or renew the session token: %w",
			ErrRefused, place, err)
	case has(codesOfClock):
		return fmt.Errorf("%w: the clocks of this machine and of %s differ too much, synchronize this machine's clock (NTP): %w",
			ErrRefused, place, err)
	case has(codesOfAccess) || r.status == http.StatusForbidden || r.status == http.StatusUnauthorized:
		return fmt.Errorf("%w: no access to %s, allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket: %w",
			ErrRefused, place, err)
	case retryable(err):
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, place, err)
	}
	return err
}

func regionHint(r *reply) string {
	if region := r.rightRegion(); region != "" {
		return "the bucket is in region " + region + ", open it with region=" + region
	}
	return "the region is wrong, open the bucket with the region= that it is in"
}

// ended adds the end of ctx to an error that came of it.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
