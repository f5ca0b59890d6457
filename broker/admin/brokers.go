package admin

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// RemoveBroker is the change that forgets a broker which is fenced and leads nothing any more. It
// fails with BROKER_ID_NOT_REGISTERED and POLICY_VIOLATION.
func RemoveBroker(node id.Broker) *Change {
	return &Change{
		Action: ActionRemoveBroker, Resource: metalog.Resource{Type: metalog.ResourceBroker, Name: node.String()}, Size: 64,
		Decide: func(img *metalog.Image) ([]metalog.Record, error) {
			if err := checkRemoval(img, node); err != nil {
				return nil, err
			}
			return []metalog.Record{metalog.BrokerRemoved{ID: node}}, nil
		},
	}
}

// checkRemoval says why a broker may not be removed.
func checkRemoval(img *metalog.Image, node id.Broker) error {
	b, ok := img.Broker(node)
	if !ok {
		return fmt.Errorf("unregister broker %v: %w", node, kerr.BrokerIDNotRegistered)
	}
	if !b.Fenced {
		return fmt.Errorf("unregister broker %v: it is alive, stop it first: %w", node, kerr.PolicyViolation)
	}
	for _, t := range img.Topics() {
		for i := range t.Partitions {
			if t.Partitions[i].Leader == node {
				return fmt.Errorf("unregister broker %v: partition %d of topic %q is still to be taken over, try again: %w", node, i, t.Name, kerr.PolicyViolation)
			}
		}
	}
	return nil
}
