package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/rights"
)

func TestIAMPolicy(t *testing.T) {
	stores := []string{"--object-store", "s3://log/prod?region=eu-central-1", "--metadata", "dynamodb://log?region=eu-central-1", "--account", "123456789012"}
	for _, job := range rights.Jobs {
		var got rights.Document
		require.NoError(t, json.Unmarshal([]byte(succeed(t, "", append([]string{"iam", "policy", "--for", string(job)}, stores...)...)), &got))
		want, err := rights.Policy(job, rights.Place{Region: "eu-central-1", Account: "123456789012", Bucket: "log", Prefix: "prod", Tables: "log"})
		require.NoError(t, err)
		require.Equal(t, want, got, job)
	}
	out := succeed(t, "", append([]string{"iam", "policy", "--wal-store", "s3://fast/x", "--kms-key", "arn:aws:kms:::key/1"}, stores...)...)
	require.Contains(t, out, "arn:aws:s3:::fast/x/wal/*")
	require.Contains(t, out, "kms:Decrypt")
	for _, args := range [][]string{
		append([]string{"--for", "cook"}, stores...),
		{"--object-store", "minio://x/y"},
		{"--object-store", "s3://log", "--metadata", "bolt:///x"},
		append([]string{"--wal-store", "file:///x"}, stores...),
	} {
		require.Equal(t, exitUsage, forebay(t, "", append([]string{"iam", "policy"}, args...)...).code, args)
	}
}
