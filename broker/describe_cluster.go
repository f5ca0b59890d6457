package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeCluster (key 60), versions 0 to 2. The controller is the live broker with the
// lowest id. No deviations.

// The types of endpoints that a client may ask for.
const (
	brokerEndpoints     = 1
	controllerEndpoints = 2
)

// handleDescribeCluster answers with the brokers of the cluster.
func handleDescribeCluster(_ context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.DescribeClusterRequest](c)
	resp := responseTo[*kmsg.DescribeClusterResponse](req)
	resp.Brokers = []kmsg.DescribeClusterResponseBroker{}
	img := b.told()
	resp.ClusterID, resp.ControllerID = img.ClusterID(), controller(img)
	if c.version >= 1 && req.EndpointType != brokerEndpoints {
		err := fmt.Errorf("endpoints of type %d: %w", req.EndpointType, kerr.UnsupportedEndpointType)
		if req.EndpointType == controllerEndpoints {
			err = fmt.Errorf("endpoints of controllers, at a broker: %w", kerr.MismatchedEndpointType)
		}
		resp.ErrorCode, resp.ErrorMessage = c.code(err), message(err)
		return resp
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	for _, e := range endpoints(img, c.listener().Name, req.IncludeFencedBrokers) {
		rb := kmsg.NewDescribeClusterResponseBroker()
		rb.NodeID, rb.Host, rb.Port, rb.Rack = int32(e.id), e.host, e.port, e.rack
		rb.IsFenced = e.fenced
		resp.Brokers = append(resp.Brokers, rb)
	}
	return resp
}
