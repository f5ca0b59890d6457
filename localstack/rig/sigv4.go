package rig

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Identity is an IAM user or role with a key.
type Identity struct {
	AccessKey, Secret string
	ARN               string
	Allowed           bool // its policy lets it call the function
}

func (i Identity) credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: i.AccessKey, SecretAccessKey: i.Secret}
}

// Region and service of the signatures of function URLs.
const (
	sigRegion  = "us-east-1"
	sigService = "lambda"
)

// Client returns a client that signs what it sends as the identity, at the time that now returns; nil: time.Now.
func (i Identity) Client(now func() time.Time) *http.Client {
	if now == nil {
		now = time.Now
	}
	return &http.Client{Timeout: time.Minute, Transport: signing{i, now}}
}

type signing struct {
	identity Identity
	now      func() time.Time
}

// RoundTrip signs and sends a request.
func (s signing) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	if err := sign(r.Context(), r, body, s.identity, s.now()); err != nil {
		return nil, err
	}
	return http.DefaultTransport.RoundTrip(r)
}

func sign(ctx context.Context, r *http.Request, body []byte, i Identity, at time.Time) error {
	sum := sha256.Sum256(body)
	return v4.NewSigner().SignHTTP(ctx, i.credentials(), r, hex.EncodeToString(sum[:]), sigService, sigRegion, at)
}

// Why AWS refuses a request to a function URL.
var (
	errUnsigned  = errors.New("Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html") //nolint:staticcheck // AWS's own words
	errUnknown   = errors.New("The security token included in the request is invalid.")                                                                             //nolint:revive,staticcheck // AWS's own words
	errSignature = errors.New("The request signature we calculated does not match the signature you provided.")                                                     //nolint:revive,staticcheck // AWS's own words
	errExpired   = errors.New("Signature expired")                                                                                                                  //nolint:revive,staticcheck // AWS's own words
)

// skew is how far the time of a signature may be off.
const skew = 5 * time.Minute

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$`)

// verify finds out who has signed a request, as AWS does, by signing it again.
func verify(r *http.Request, body []byte, known []Identity, now time.Time) (Identity, error) {
	m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil || m[3] != sigRegion || m[4] != sigService {
		return Identity{}, errUnsigned
	}
	n := slices.IndexFunc(known, func(i Identity) bool { return i.AccessKey == m[1] })
	if n < 0 {
		return Identity{}, errUnknown
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || at.Format("20060102") != m[2] {
		return Identity{}, errSignature
	}
	if at.Before(now.Add(-skew)) || at.After(now.Add(skew)) {
		return Identity{}, fmt.Errorf("%w: %s is now not within 5 min. of %s", errExpired, now.UTC().Format(time.RFC3339), at.Format(time.RFC3339))
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
	if err != nil {
		return Identity{}, err
	}
	for name := range strings.SplitSeq(m[5], ";") {
		switch name {
		case "host", "x-amz-date":
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	if err := sign(r.Context(), again, body, known[n], at); err != nil {
		return Identity{}, err
	}
	if subtle.ConstantTimeCompare([]byte(again.Header.Get("Authorization")), []byte(r.Header.Get("Authorization"))) != 1 {
		return Identity{}, errSignature
	}
	return known[n], nil
}
