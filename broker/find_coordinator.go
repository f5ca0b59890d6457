package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FindCoordinator (key 10), versions 0 to 6, several keys at once from 4 on. Every group
// is coordinated by the broker that is asked. Deviation: transactions and share
// groups are not served, and keys of theirs are refused with INVALID_REQUEST, which
// clients do not retry.

// The kinds of keys.
const (
	coordinatesGroup       = 0
	coordinatesTransaction = 1
	coordinatesShare       = 2
)

func handleFindCoordinator(_ context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.FindCoordinatorRequest](c)
	resp := responseTo[*kmsg.FindCoordinatorResponse](req)
	if req.Version >= 4 {
		for _, key := range req.CoordinatorKeys {
			resp.Coordinators = append(resp.Coordinators, findCoordinator(b, c, req.CoordinatorType, key))
		}
		return resp
	}
	found := findCoordinator(b, c, req.CoordinatorType, req.CoordinatorKey)
	resp.NodeID, resp.Host, resp.Port = found.NodeID, found.Host, found.Port
	resp.ErrorCode, resp.ErrorMessage = found.ErrorCode, found.ErrorMessage
	return resp
}

func findCoordinator(b *Broker, c *call, kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	found := kmsg.NewFindCoordinatorResponseCoordinator()
	found.Key = key
	if err := checkCoordinates(kind); err != nil {
		found.NodeID, found.Port = -1, -1
		found.ErrorCode = c.code(err)
		found.ErrorMessage = kmsg.StringPtr(err.Error())
		return found
	}
	l := c.listener()
	found.NodeID, found.Host, found.Port = int32(b.cfg.NodeID), l.AdvertisedHost, l.AdvertisedPort
	return found
}

func checkCoordinates(kind int8) error {
	switch kind {
	case coordinatesGroup:
		return nil
	case coordinatesTransaction:
		return fmt.Errorf("find the coordinator of a transaction: transactions are not served yet: %w", kerr.InvalidRequest)
	case coordinatesShare:
		return fmt.Errorf("find the coordinator of a share group: share groups are not served: %w", kerr.InvalidRequest)
	}
	return fmt.Errorf("find the coordinator of a key of type %d: no such type: %w", kind, kerr.InvalidRequest)
}
