package broker

import (
	"fmt"

	"github.com/forebaylog/forebay/broker/config"
)

// durabilityConfig says when acks=all of a topic is answered. Under the same name it is the
// broker config behind it.
const durabilityConfig = "forebay.durability"

// durability is the class that this broker serves, and the default of its topics.
func (cfg Config) durability() string {
	if cfg.Cluster != nil {
		return config.DurabilityObject
	}
	return config.DurabilityLocal
}

// checkDurability refuses a class that is not served. It fails with config.ErrInvalid.
func (cfg Config) checkDurability(class string) error {
	switch {
	case class == cfg.durability():
		return nil
	case cfg.Cluster == nil:
		return fmt.Errorf("%w %q for %s: this node is alone and answers once a record is on its own disk: leave it at %s, or run the brokers of a cluster (forebay broker)",
			config.ErrInvalid, class, durabilityConfig, config.DurabilityLocal)
	}
	return fmt.Errorf("%w %q for %s: the brokers of a cluster answer once a record is in the object store, and their disks are caches: leave it at %s, or run one node alone (forebay dev)",
		config.ErrInvalid, class, durabilityConfig, config.DurabilityObject)
}

// checkServed refuses, of configs that are to be set, the values that are valid but not
// served by this broker.
func (cfg Config) checkServed(set map[string]*string) error {
	if class := set[durabilityConfig]; class != nil {
		return cfg.checkDurability(*class)
	}
	return nil
}
