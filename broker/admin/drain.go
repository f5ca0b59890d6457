package admin

import (
	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// drainedAtOnce is how many partitions the change itself moves; the brokers move the rest.
const drainedAtOnce = 1000

// Draining reports whether a broker was asked to lead nothing.
func Draining(img *metalog.Image, node id.Broker) bool { return placement.Draining(img, node) }

// Drain is the change after which a broker hands over what it leads, or may lead again. It
// sets the broker config forebay.drain, which lasts, and begins with the moves. It fails with
// BROKER_ID_NOT_REGISTERED.
func Drain(node id.Broker, drain bool) *Change {
	r := metalog.Resource{Type: metalog.ResourceBroker, Name: node.String()}
	return &Change{
		Action: ActionDrainBroker, Resource: r, Size: 96 * drainedAtOnce,
		Decide: func(img *metalog.Image) ([]metalog.Record, error) {
			if _, err := FindResource(img, r); err != nil {
				return nil, err
			}
			if drain == Draining(img, node) {
				return nil, nil
			}
			if !drain {
				return []metalog.Record{metalog.ConfigChanged{Resource: r, Set: map[string]*string{config.Drain: nil}}}, nil
			}
			records := []metalog.Record{metalog.ConfigChanged{Resource: r, Set: map[string]*string{config.Drain: new("true")}}}
			targets := placement.Drain(img, node)
			return append(records, placement.Records(img, targets[:min(len(targets), drainedAtOnce)])...), nil
		},
	}
}
