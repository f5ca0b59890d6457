package broker

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// place assigns n partitions, the first of which has the index first, to brokers in
// turn, with rf replicas each of which the first leads. start is where the turn
// begins, so that topics with few partitions do not all begin at the same broker.
// It fails with INVALID_REPLICATION_FACTOR if there are too few brokers.
func place(img *metalog.Image, start, first, n int, rf int16) ([]metalog.Assignment, error) {
	brokers := img.Brokers()
	if int(rf) > len(brokers) {
		return nil, fmt.Errorf("replication factor %d exceeds the %d registered brokers: %w", rf, len(brokers), kerr.InvalidReplicationFactor)
	}
	placed := make([]metalog.Assignment, n)
	for i := range placed {
		replicas := make([]id.Broker, rf)
		for r := range replicas {
			replicas[r] = brokers[(start+first+i+r)%len(brokers)].ID
		}
		placed[i] = metalog.Assignment{Leader: replicas[0], Replicas: replicas}
	}
	return placed, nil
}

// assignment checks the replicas that a client chose for one partition. rf is the
// number there must be, 0 if this is the first partition. It fails with
// INVALID_REPLICA_ASSIGNMENT.
func assignment(img *metalog.Image, partition int32, replicas []int32, rf int16) (metalog.Assignment, error) {
	reject := func(format string, args ...any) (metalog.Assignment, error) {
		what := fmt.Sprintf(format, args...)
		return metalog.Assignment{}, fmt.Errorf("assignment of partition %d: %s: %w", partition, what, kerr.InvalidReplicaAssignment)
	}
	if len(replicas) == 0 {
		return reject("no replicas")
	}
	if rf > 0 && len(replicas) != int(rf) {
		return reject("%d replicas where the others have %d", len(replicas), rf)
	}
	a := metalog.Assignment{Leader: id.Broker(replicas[0])}
	for _, r := range replicas {
		if _, ok := img.Broker(id.Broker(r)); !ok {
			return reject("broker %d is not registered", r)
		}
		if slices.Contains(a.Replicas, id.Broker(r)) {
			return reject("broker %d stands twice", r)
		}
		a.Replicas = append(a.Replicas, id.Broker(r))
	}
	return a, nil
}
