package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeAcls, CreateAcls and DeleteAcls (keys 29 to 31), versions 1 to 3: as Kafka answers them
// without an authorizer. Tools like MirrorMaker 2 know SECURITY_DISABLED and go on without ACLs,
// where an API that is not served would end them. No deviations.

// noAuthorizer is what Kafka says to whoever asks for ACLs.
const noAuthorizer = "No Authorizer is configured."

func handleDescribeACLs(_ context.Context, _ *Broker, c *call) kmsg.Response {
	resp := responseTo[*kmsg.DescribeACLsResponse](requestOf[*kmsg.DescribeACLsRequest](c))
	resp.ErrorCode, resp.ErrorMessage = c.code(kerr.SecurityDisabled), kmsg.StringPtr(noAuthorizer)
	return resp
}

func handleCreateACLs(_ context.Context, _ *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.CreateACLsRequest](c)
	resp := responseTo[*kmsg.CreateACLsResponse](req)
	for range req.Creations {
		r := kmsg.NewCreateACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = c.code(kerr.SecurityDisabled), kmsg.StringPtr(noAuthorizer)
		resp.Results = append(resp.Results, r)
	}
	return resp
}

func handleDeleteACLs(_ context.Context, _ *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.DeleteACLsRequest](c)
	resp := responseTo[*kmsg.DeleteACLsResponse](req)
	for range req.Filters {
		r := kmsg.NewDeleteACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = c.code(kerr.SecurityDisabled), kmsg.StringPtr(noAuthorizer)
		resp.Results = append(resp.Results, r)
	}
	return resp
}
