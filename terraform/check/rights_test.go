//go:build e2e

package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/rights"
)

// The account and region of the stand-in for AWS.
const (
	account = "123456789012"
	region  = "us-east-1"
)

// places are clusters that differ in where they keep what.
var places = map[string]rights.Place{
	"plain":  {Bucket: "log", Tables: "events"},
	"prefix": {Bucket: "log", Prefix: "prod", Tables: "events", Key: "arn:aws:kms:us-east-1:123456789012:key/1"},
	"express": {
		Bucket: "log", Prefix: "prod/a", Tables: "events", WALBucket: "wal--use1-az4--x-s3", Key: "arn:aws:kms:us-east-1:123456789012:key/1",
	},
	"own wal bucket": {Bucket: "log", Tables: "events", WALBucket: "wal", WALPrefix: "fast"},
}

// compareRights fails unless module iam makes the same policies as package rights.
func (tr tree) compareRights(ctx context.Context, t *testing.T, at rights.Place) error {
	t.Helper()
	vars := map[string]string{"bucket": at.Bucket, "prefix": at.Prefix, "tables": at.Tables}
	for name, value := range map[string]string{"wal_bucket": at.WALBucket, "wal_prefix": at.WALPrefix, "kms_key_arn": at.Key} {
		if value != "" {
			vars[name] = value
		}
	}
	outputs, err := tr.outputs(ctx, t, "modules/iam", vars)
	if err != nil {
		return err
	}
	policies := decode[map[string]string](t, outputs["policies"])
	at.Region, at.Account = region, account
	var errs []error
	for _, job := range rights.Jobs {
		want, err := rights.Policy(job, at)
		if err != nil {
			return err
		}
		errs = append(errs, sameDocument(string(job), want, policies[string(job)]))
	}
	return errors.Join(errs...)
}

func sameDocument(job string, want rights.Document, got string) error {
	text, err := json.Marshal(want)
	if err != nil {
		return err
	}
	var a, b any
	if err := json.Unmarshal([]byte(got), &b); err != nil {
		return fmt.Errorf("job %s has no policy in modules/iam: %w", job, err)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return err
	}
	if !reflect.DeepEqual(a, b) {
		return fmt.Errorf("job %s has other rights in modules/iam than `forebay iam policy` prints:\n%s\nwant\n%s", job, got, text)
	}
	return nil
}

// TestRights: what Terraform attaches is what `forebay iam policy` prints, and what end-to-end tests run with.
func TestRights(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	require.NoError(t, tr.init(t.Context(), t, "modules/iam"))
	for name, at := range places {
		t.Run(name, func(t *testing.T) { require.NoError(t, tr.compareRights(t.Context(), t, at)) })
	}
}
