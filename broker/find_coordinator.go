package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
)

// FindCoordinator (key 10), versions 0 to 6, several keys at once from 4 on. A group or a
// transactional id is coordinated by the leader of its shard; see shards. Deviations: the topic of
// the shards is there when the first request for it is answered, which Kafka answers with
// COORDINATOR_NOT_AVAILABLE; share groups are not served, and keys of theirs
// are refused with INVALID_REQUEST, which clients do not retry.

// The kinds of keys.
const (
	coordinatesGroup       = 0
	coordinatesTransaction = 1
	coordinatesShare       = 2
)

func handleFindCoordinator(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.FindCoordinatorRequest](c)
	resp := responseTo[*kmsg.FindCoordinatorResponse](req)
	if req.Version >= 4 {
		for _, key := range req.CoordinatorKeys {
			resp.Coordinators = append(resp.Coordinators, findCoordinator(ctx, b, c, req.CoordinatorType, key))
		}
		return resp
	}
	found := findCoordinator(ctx, b, c, req.CoordinatorType, req.CoordinatorKey)
	resp.NodeID, resp.Host, resp.Port = found.NodeID, found.Host, found.Port
	resp.ErrorCode, resp.ErrorMessage = found.ErrorCode, found.ErrorMessage
	return resp
}

func findCoordinator(ctx context.Context, b *Broker, c *call, kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	found := kmsg.NewFindCoordinatorResponseCoordinator()
	found.Key = key
	topic, err := coordinates(kind)
	var at endpoint
	if err == nil {
		at, err = b.coordinator(ctx, topic, key, c.listener().Name)
	}
	if err != nil {
		found.NodeID, found.Port = -1, -1
		found.ErrorCode = c.code(err)
		found.ErrorMessage = kmsg.StringPtr(err.Error())
		return found
	}
	found.NodeID, found.Host, found.Port = int32(at.id), at.host, at.port
	return found
}

// coordinates returns the topic of the shards for a kind of keys.
func coordinates(kind int8) (topic string, err error) {
	switch kind {
	case coordinatesGroup:
		return admin.OffsetsTopic, nil
	case coordinatesTransaction:
		return admin.TxnTopic, nil
	case coordinatesShare:
		return "", fmt.Errorf("find the coordinator of a share group: share groups are not served: %w", kerr.InvalidRequest)
	}
	return "", fmt.Errorf("find the coordinator of a key of type %d: no such type: %w", kind, kerr.InvalidRequest)
}
