//go:build e2e

package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// assumeReadOnly has MinIO make credentials that may read and not write, and returns the
// environment that has them.
func assumeReadOnly(t *testing.T, store *rig.MinIO) []string {
	t.Helper()
	form := url.Values{
		"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "DurationSeconds": {"3600"},
		"Policy": {`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::*"]}]}`},
	}.Encode()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+store.Addr+"/", strings.NewReader(form))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sign(req, form, store, time.Now().UTC())
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
	var answer struct {
		AccessKey string `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
		SecretKey string `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
		Token     string `xml:"AssumeRoleResult>Credentials>SessionToken"`
	}
	require.NoError(t, xml.Unmarshal(body, &answer))
	require.NotEmpty(t, answer.Token)
	return []string{
		"AWS_ACCESS_KEY_ID=" + answer.AccessKey, "AWS_SECRET_ACCESS_KEY=" + answer.SecretKey, "AWS_SESSION_TOKEN=" + answer.Token,
	}
}

// sign signs a request to the root path for STS, with AWS Signature Version 4.
func sign(req *http.Request, body string, store *rig.MinIO, now time.Time) {
	date, day := now.Format("20060102T150405Z"), now.Format("20060102")
	scope := day + "/" + store.Region + "/sts/aws4_request"
	canonical := req.Method + "\n/\n\nhost:" + req.URL.Host + "\nx-amz-date:" + date + "\n\nhost;x-amz-date\n" + digest(body)
	key := []byte("AWS4" + store.SecretKey)
	for _, part := range []string{day, store.Region, "sts", "aws4_request", "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + digest(canonical)} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	req.Header.Set("X-Amz-Date", date)
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+store.AccessKey+"/"+scope+
		", SignedHeaders=host;x-amz-date, Signature="+hex.EncodeToString(key))
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
