package broker

import (
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// configResource is a resource with configs that a request names.
type configResource struct {
	metalog.Resource
	kind string // for messages
	defs []config.Definition
	find func(name string) (*config.Definition, bool)
}

// resourceOf finds the resource on an Image. It fails with UNKNOWN_TOPIC_OR_PARTITION,
// INVALID_TOPIC_EXCEPTION, BROKER_ID_NOT_REGISTERED and INVALID_REQUEST.
func resourceOf(img *metalog.Image, typ kmsg.ConfigResourceType, name string) (configResource, error) {
	switch typ {
	case kmsg.ConfigResourceTypeTopic:
		return topicResource(img, name)
	case kmsg.ConfigResourceTypeBroker:
		return brokerResource(img, name)
	case kmsg.ConfigResourceTypeGroupConfig:
		if name == "" {
			return configResource{}, fmt.Errorf("group configs without a group: %w", kerr.InvalidRequest)
		}
		return configResource{
			Resource: metalog.Resource{Type: metalog.ResourceGroup, Name: name},
			kind:     "group", defs: config.Groups(), find: config.Group,
		}, nil
	}
	return configResource{}, fmt.Errorf("configs of resource type %d (%v) are not served: %w", typ, typ, kerr.InvalidRequest)
}

func topicResource(img *metalog.Image, name string) (configResource, error) {
	if err := checkTopicName(name); err != nil {
		return configResource{}, err
	}
	if _, ok := img.Topic(name); !ok {
		return configResource{}, fmt.Errorf("topic %q: %w", name, kerr.UnknownTopicOrPartition)
	}
	return configResource{
		Resource: metalog.Resource{Type: metalog.ResourceTopic, Name: name},
		kind:     "topic", defs: config.Topics(), find: config.Topic,
	}, nil
}

// brokerResource is a broker, or all of them if name is empty.
func brokerResource(img *metalog.Image, name string) (configResource, error) {
	if name != "" {
		n, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return configResource{}, fmt.Errorf("broker %q: must be a node id, or empty for all brokers: %w", name, kerr.InvalidRequest)
		}
		if _, ok := img.Broker(id.Broker(n)); !ok {
			return configResource{}, fmt.Errorf("broker %d: %w", n, kerr.BrokerIDNotRegistered)
		}
		name = strconv.FormatInt(n, 10)
	}
	return configResource{
		Resource: metalog.Resource{Type: metalog.ResourceBroker, Name: name},
		kind:     "broker", defs: config.Brokers(), find: config.Broker,
	}, nil
}

// layers are the places where the resource's values may come from.
func (b *Broker) layers(img *metalog.Image, r configResource) config.Layers {
	own := img.Config(r.Resource)
	switch {
	case r.Type == metalog.ResourceTopic:
		return b.topicLayers(img, own)
	case r.Type == metalog.ResourceGroup:
		return config.Layers{Resource: own, Source: config.DynamicGroup, Broker: img.Config(b.self()), Cluster: img.Config(allBrokers), Static: b.static}
	case r.Name == "":
		return config.Layers{Resource: own, Source: config.DynamicDefault}
	}
	return config.Layers{Resource: own, Source: config.DynamicBroker, Cluster: img.Config(allBrokers), Static: b.static}
}
