package admin

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// assignments checks the replicas that a client chose for partitions from first on. rf is the number
// there must be of each, 0 if the first of them tells. It fails with INVALID_REPLICA_ASSIGNMENT.
func assignments(img *metalog.Image, chosen [][]int32, first int, rf int16) ([]metalog.Assignment, error) {
	placed := make([]metalog.Assignment, len(chosen))
	for i, replicas := range chosen {
		a, err := assignment(img, first+i, replicas, rf)
		if err != nil {
			return nil, err
		}
		placed[i], rf = a, int16(len(a.Replicas))
	}
	return placed, nil
}

// assignment checks the replicas of one partition, which the first live one leads.
func assignment(img *metalog.Image, partition int, replicas []int32, rf int16) (metalog.Assignment, error) {
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
	list, err := registered(img, replicas)
	if err != nil {
		return reject("%v", err)
	}
	first := slices.IndexFunc(list, func(r id.Broker) bool { return placement.IsLive(img, r) })
	if first < 0 {
		return reject("no replica of %v lives", replicas)
	}
	return metalog.Assignment{Leader: list[first], Replicas: list}, nil
}

// registered reads replicas, each of which must be a registered broker and stand once.
func registered(img *metalog.Image, replicas []int32) ([]id.Broker, error) {
	list := make([]id.Broker, 0, len(replicas))
	for _, r := range replicas {
		if _, ok := img.Broker(id.Broker(r)); !ok {
			return nil, fmt.Errorf("broker %d is not registered", r)
		}
		if slices.Contains(list, id.Broker(r)) {
			return nil, fmt.Errorf("broker %d stands twice", r)
		}
		list = append(list, id.Broker(r))
	}
	return list, nil
}
