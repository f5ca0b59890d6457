package admin

import (
	"fmt"
	"time"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/metalog"
)

// Settings are what decisions take where a request leaves the choice. The zero value is that of
// a cluster whose brokers have Kafka's defaults.
type Settings struct {
	Partitions int32  // num.partitions; 0: 1
	Replicas   int16  // default.replication.factor; 0: 1
	Durability string // the class that topics may have; "": config.DurabilityObject
	// Node and Static are the configs of the broker that decides, by its node id and as it was
	// started: what configs are appended to where nobody has set them. Both may be missing.
	Node   string
	Static map[string]string
}

// DurabilityConfig says when acks=all of a topic is answered. Under the same name it is the
// broker config behind it.
const DurabilityConfig = "forebay.durability"

// durability is the class that is served, and the default of topics.
func (s Settings) durability() string {
	if s.Durability == "" {
		return config.DurabilityObject
	}
	return s.Durability
}

// CheckDurability refuses a class that is not served. It fails with config.ErrInvalid.
func (s Settings) CheckDurability(class string) error {
	served := s.durability()
	switch {
	case class == served:
		return nil
	case served == config.DurabilityLocal:
		return fmt.Errorf("%w %q for %s: this node is alone and answers once a record is on its own disk: leave it at %s, or run the brokers of a cluster (forebay broker)",
			config.ErrInvalid, class, DurabilityConfig, config.DurabilityLocal)
	}
	return fmt.Errorf("%w %q for %s: the brokers of a cluster answer once a record is in the object store, and their disks are caches: leave it at %s, or run one node alone (forebay dev)",
		config.ErrInvalid, class, DurabilityConfig, config.DurabilityObject)
}

// CheckServed refuses, of configs that are to be set, the values that are valid but not
// served. It fails with config.ErrInvalid.
func (s Settings) CheckServed(set map[string]*string) error {
	if class := set[DurabilityConfig]; class != nil {
		return s.CheckDurability(*class)
	}
	return nil
}

// AllBrokers is the resource whose configs count for every broker.
var AllBrokers = metalog.Resource{Type: metalog.ResourceBroker}

// node is the deciding broker as a resource with configs.
func (s Settings) node() metalog.Resource {
	return metalog.Resource{Type: metalog.ResourceBroker, Name: s.Node}
}

// Layers are the places where a resource's values may come from.
func (s Settings) Layers(img *metalog.Image, r metalog.Resource) config.Layers {
	own := img.Config(r)
	switch {
	case r.Type == metalog.ResourceTopic:
		return s.TopicLayers(img, own)
	case r.Type == metalog.ResourceGroup:
		return config.Layers{Resource: own, Source: config.DynamicGroup, Broker: img.Config(s.node()), Cluster: img.Config(AllBrokers), Static: s.Static}
	case r.Name == "":
		return config.Layers{Resource: own, Source: config.DynamicDefault}
	}
	return config.Layers{Resource: own, Source: config.DynamicBroker, Cluster: img.Config(AllBrokers), Static: s.Static}
}

// TopicLayers are the layers of a topic with those configs of its own.
func (s Settings) TopicLayers(img *metalog.Image, own map[string]string) config.Layers {
	return config.Layers{
		Resource: own, Source: config.DynamicTopic,
		Broker: img.Config(s.node()), Cluster: img.Config(AllBrokers), Static: s.Static,
	}
}

// AuditKept is how long it is kept who changed what, as the configs of all brokers have it: for those
// who are no broker. What is negative is for ever.
func AuditKept(img *metalog.Image) time.Duration {
	return config.ResolveLifecycle(config.Layers{Source: config.DynamicBroker, Cluster: img.Config(AllBrokers)}).AuditKept
}
