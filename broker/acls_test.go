package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ACLs are answered as by a Kafka without an authorizer.
func TestACLsAreDisabled(t *testing.T) {
	n := startNode(t)
	for version := int16(1); version <= 3; version++ {
		describe := kmsg.NewPtrDescribeACLsRequest()
		describe.SetVersion(version)
		described := ask(n, describe, kmsg.NewPtrDescribeACLsResponse())
		require.Equal(t, kerr.SecurityDisabled.Code, described.ErrorCode)
		require.Equal(t, noAuthorizer, *described.ErrorMessage)

		create := kmsg.NewPtrCreateACLsRequest()
		create.SetVersion(version)
		create.Creations = []kmsg.CreateACLsRequestCreation{kmsg.NewCreateACLsRequestCreation(), kmsg.NewCreateACLsRequestCreation()}
		created := ask(n, create, kmsg.NewPtrCreateACLsResponse())
		require.Len(t, created.Results, 2)
		require.Equal(t, kerr.SecurityDisabled.Code, created.Results[1].ErrorCode)

		remove := kmsg.NewPtrDeleteACLsRequest()
		remove.SetVersion(version)
		remove.Filters = []kmsg.DeleteACLsRequestFilter{kmsg.NewDeleteACLsRequestFilter()}
		removed := ask(n, remove, kmsg.NewPtrDeleteACLsResponse())
		require.Len(t, removed.Results, 1)
		require.Equal(t, kerr.SecurityDisabled.Code, removed.Results[0].ErrorCode)
	}
}

func TestNoQuotasAndNoCredentials(t *testing.T) {
	n := startNode(t)
	for version := int16(0); version <= 1; version++ {
		req := kmsg.NewPtrDescribeClientQuotasRequest()
		req.SetVersion(version)
		resp := ask(n, req, kmsg.NewPtrDescribeClientQuotasResponse())
		require.Zero(t, resp.ErrorCode)
		require.NotNil(t, resp.Entries, "null would be an error")
		require.Empty(t, resp.Entries)
	}
	req := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	resp := ask(n, req, kmsg.NewPtrDescribeUserSCRAMCredentialsResponse())
	require.Zero(t, resp.ErrorCode)
	require.Empty(t, resp.Results)
	for _, name := range []string{"alice", "bob", "alice"} {
		req.Users = append(req.Users, kmsg.DescribeUserSCRAMCredentialsRequestUser{Name: name})
	}
	resp = ask(n, req, kmsg.NewPtrDescribeUserSCRAMCredentialsResponse())
	require.Len(t, resp.Results, 2)
	require.Equal(t, kerr.DuplicateResource.Code, resp.Results[0].ErrorCode)
	require.Equal(t, kerr.ResourceNotFound.Code, resp.Results[1].ErrorCode)
}
