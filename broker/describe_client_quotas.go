package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeClientQuotas (key 48), versions 0 to 1 (KIP-546): there are none, whatever is asked for.
// AlterClientQuotas (key 49) is not served, so that no tool believes a quota which nothing
// enforces to be set.

func handleDescribeClientQuotas(_ context.Context, _ *Broker, c *call) kmsg.Response {
	resp := responseTo[*kmsg.DescribeClientQuotasResponse](requestOf[*kmsg.DescribeClientQuotasRequest](c))
	resp.Entries = []kmsg.DescribeClientQuotasResponseEntry{}
	return resp
}
