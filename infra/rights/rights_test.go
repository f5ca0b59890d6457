package rights

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var place = Place{Region: "eu-central-1", Account: "123456789012", Bucket: "log", Prefix: "prod", Tables: "events"}

func policy(t *testing.T, job Job, at Place) Document {
	t.Helper()
	d, err := Policy(job, at)
	require.NoError(t, err)
	return d
}

func TestOnlyTheCollectorRemovesPacksAndTheAudit(t *testing.T) {
	for _, object := range []string{"packs/x", "metalog/archive/x"} {
		removal := Call{Action: "s3:DeleteObject", Resource: "arn:aws:s3:::log/prod/" + object}
		for _, job := range Jobs {
			allowed := policy(t, job, place).Allowing(removal) != nil
			require.Equal(t, job == Collector || job == Node, allowed, "%s, %s", job, object)
		}
	}
	require.NotNil(t, policy(t, API, place).Allowing(Call{Action: "s3:DeleteObject", Resource: "arn:aws:s3:::log/prod/metalog/00000000000000001000-x"}))
	require.NotNil(t, policy(t, Broker, place).Allowing(Call{Action: "s3:DeleteObject", Resource: "arn:aws:s3:::log/prod/wal/s/x"}))
}

func TestNobodyGoesBeyondTheCluster(t *testing.T) {
	for _, job := range Jobs {
		d := policy(t, job, place)
		for _, c := range []Call{
			{Action: "s3:GetObject", Resource: "arn:aws:s3:::log/other/x"},
			{Action: "s3:GetObject", Resource: "arn:aws:s3:::other/prod/x"},
			{Action: "s3:ListBucket", Resource: "arn:aws:s3:::log", Prefix: "other/"},
			{Action: "s3:ListBucket", Resource: "arn:aws:s3:::log"},
			{Action: "dynamodb:PutItem", Resource: "arn:aws:dynamodb:eu-central-1:123456789012:table/other-control"},
			{Action: "dynamodb:DeleteTable", Resource: "arn:aws:dynamodb:eu-central-1:123456789012:table/events-control"},
		} {
			require.Nil(t, d.Allowing(c), "%s: %v", job, c)
		}
		require.NotNil(t, d.Allowing(Call{Action: "s3:ListBucket", Resource: "arn:aws:s3:::log", Prefix: "prod/packs/"}))
		for _, s := range d.Statement {
			require.Equal(t, "Allow", s.Effect)
			require.True(t, slices.IsSorted(s.Action), s.Sid)
			for _, a := range s.Action {
				require.NotContains(t, a, "*")
			}
		}
	}
}

func TestOffsetsAreTheBrokers(t *testing.T) {
	c := Call{Action: "dynamodb:PutItem", Resource: "arn:aws:dynamodb:eu-central-1:123456789012:table/events-offsets"}
	require.NotNil(t, policy(t, Broker, place).Allowing(c))
	require.Nil(t, policy(t, Retention, place).Allowing(c))
}

func TestWALStoreOfItsOwn(t *testing.T) {
	at := place
	at.Prefix, at.WALBucket, at.WALPrefix, at.Key = "", "fast--x-s3", "prod", "arn:aws:kms:eu-central-1:123456789012:key/1"
	d := policy(t, Broker, at)
	require.NotNil(t, d.Allowing(Call{Action: "s3:PutObject", Resource: "arn:aws:s3:::fast--x-s3/prod/wal/s/1"}))
	require.Nil(t, d.Allowing(Call{Action: "s3:PutObject", Resource: "arn:aws:s3:::log/wal/s/1"}))
	require.NotNil(t, d.Allowing(Call{Action: "s3:DeleteObject", Resource: "arn:aws:s3:::fast--x-s3/prod/probe/1"}), "a broker tries each of its stores")
	require.NotNil(t, d.Allowing(Call{Action: "s3express:CreateSession", Resource: "arn:aws:s3express:eu-central-1:123456789012:bucket/fast--x-s3"}))
	require.NotNil(t, d.Allowing(Call{Action: "kms:Decrypt", Resource: at.Key}))
	text, err := json.Marshal(d)
	require.NoError(t, err)
	require.Contains(t, string(text), `"Version":"2012-10-17"`)
	_, err = Policy("cook", at)
	require.ErrorContains(t, err, "broker")
}
