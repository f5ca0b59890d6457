package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeUserScramCredentials (key 50), version 0 (KIP-554): nobody has any, so that a user who
// is asked for is RESOURCE_NOT_FOUND. AlterUserScramCredentials (key 51) is not served.

func handleDescribeUserSCRAMCredentials(_ context.Context, _ *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.DescribeUserSCRAMCredentialsRequest](c)
	resp := responseTo[*kmsg.DescribeUserSCRAMCredentialsResponse](req)
	resp.Results = []kmsg.DescribeUserSCRAMCredentialsResponseResult{}
	seen := make(map[string]int, len(req.Users))
	for _, u := range req.Users {
		seen[u.Name]++
	}
	for _, u := range req.Users {
		err := fmt.Errorf("attempt to describe a user credential that does not exist: %s: %w", u.Name, kerr.ResourceNotFound)
		switch seen[u.Name] {
		case 0: // answered
			continue
		case 1:
		default:
			err = fmt.Errorf("cannot describe SCRAM credentials for the same user twice in a single request: %s: %w", u.Name, kerr.DuplicateResource)
		}
		seen[u.Name] = 0
		r := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
		r.User, r.ErrorCode, r.ErrorMessage = u.Name, c.code(err), message(err)
		resp.Results = append(resp.Results, r)
	}
	return resp
}
