package broker

import (
	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/config"
)

// durability is the class that this broker serves, and the default of its topics.
func (cfg Config) durability() string {
	if cfg.Cluster != nil {
		return config.DurabilityObject
	}
	return config.DurabilityLocal
}

// checkServed refuses, of configs that are to be set, the values that are valid but not
// served by this broker.
func (cfg Config) checkServed(set map[string]*string) error {
	return admin.Settings{Durability: cfg.durability()}.CheckServed(set)
}
