// Package broker is a Forebay node: listeners, connections and the Kafka APIs, one
// file for each. It translates between the protocol's types and the packages
// below, which know none of them; what is stored, and when it counts as committed,
// is decided there. A Broker is safe for concurrent use.
package broker
