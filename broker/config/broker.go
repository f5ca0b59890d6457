package config

import (
	"cmp"
	"slices"
)

// readOnly are the broker configs that tools and clients look for and that a
// running broker cannot change, in order of name. Their values come from the
// broker's own settings.
var readOnly = []Definition{
	{Name: "advertised.listeners", Type: String, NoValue: true, Doc: "Addresses that clients are told to connect to."},
	{Name: "auto.create.topics.enable", Type: Boolean, Default: "true", Doc: "Whether a Metadata request creates topics."},
	{Name: "broker.id", Type: Int, Default: "-1", Doc: "Node id, by its old name."},
	{Name: "broker.rack", Type: String, NoValue: true, Doc: "Rack of the broker."},
	{Name: "connections.max.idle.ms", Type: Long, Default: "600000", Doc: "Idle time after which a connection is closed."},
	{Name: "default.replication.factor", Type: Int, Default: "1", Doc: "Replication factor of topics that name none."},
	{Name: "delete.topic.enable", Type: Boolean, Default: "true", Doc: "Whether topics can be deleted."},
	{Name: "group.initial.rebalance.delay.ms", Type: Int, Default: "3000", Doc: "How long an empty group waits for more members."},
	{Name: "group.max.session.timeout.ms", Type: Int, Default: "1800000", Doc: "Longest session timeout of a group's member."},
	{Name: "group.max.size", Type: Int, Default: "2147483647", Doc: "Most members of a group."},
	{Name: "group.min.session.timeout.ms", Type: Int, Default: "6000", Doc: "Shortest session timeout of a group's member."},
	{Name: "listeners", Type: String, NoValue: true, Doc: "Addresses that the broker binds."},
	{Name: "log.dirs", Type: String, NoValue: true, Doc: "Data directory of the hot tier."},
	{Name: "max.connections", Type: Int, Default: "2147483647", Doc: "Most connections at a time."},
	{Name: "node.id", Type: Int, NoValue: true, Doc: "Node id."},
	{Name: "num.partitions", Type: Int, Default: "1", Doc: "Partitions of topics that name no number."},
	{Name: "offset.metadata.max.bytes", Type: Int, Default: "4096", Doc: "Longest metadata of a committed offset."},
	{Name: "offsets.retention.minutes", Type: Int, Default: "10080", Doc: "How long the offsets of an empty group are kept."},
	{Name: "offsets.topic.num.partitions", Type: Int, Default: "50", Doc: "Shards of the groups, when they are created."},
	{Name: "offsets.topic.replication.factor", Type: Short, Default: "3", Doc: "Replication factor of their topic, at most the live brokers."},
	{Name: "producer.id.expiration.ms", Type: Int, Default: "86400000", Doc: "How long a partition remembers a silent producer that has no open transaction."},
	{Name: "socket.request.max.bytes", Type: Int, Default: "104857600", Doc: "Largest request."},
	{Name: "transaction.abort.timed.out.transaction.cleanup.interval.ms", Type: Int, Default: "10000", Doc: "How often transactions that are open for too long are aborted."},
	{Name: "transaction.max.timeout.ms", Type: Int, Default: "900000", Doc: "Longest timeout of a transaction."},
	{Name: "transaction.remove.expired.transaction.cleanup.interval.ms", Type: Int, Default: "3600000", Doc: "How often transactional ids that are unused for too long are removed."},
	{Name: "transaction.state.log.num.partitions", Type: Int, Default: "50", Doc: "Shards of the transactional ids, when they are created."},
	{Name: "transaction.state.log.replication.factor", Type: Short, Default: "3", Doc: "Replication factor of their topic, at most the live brokers."},
	{Name: "transactional.id.expiration.ms", Type: Int, Default: "604800000", Doc: "How long an unused transactional id is kept."},
}

// throttles are the rates that Kafka's tools set while they reassign partitions, and remove
// afterwards. Here nothing is copied then, so that they have no effect.
var throttles = []Definition{
	{Name: "follower.replication.throttled.rate", Type: Long, Default: never, check: atLeast(0), Doc: "Rate of replication to throttled replicas, in bytes a second; nothing is replicated."},
	{Name: "leader.replication.throttled.rate", Type: Long, Default: never, check: atLeast(0), Doc: "Rate of replication from throttled replicas, in bytes a second; nothing is replicated."},
	{Name: "replica.alter.log.dirs.io.max.bytes.per.second", Type: Long, Default: never, check: atLeast(0), Doc: "Rate of moves between log directories, in bytes a second; there is one directory."},
}

// registry is the definitions of one kind of resource.
type registry struct {
	sorted []Definition // by name
	byName map[string]*Definition
}

func newRegistry(defs []Definition) *registry {
	slices.SortFunc(defs, func(a, b Definition) int { return cmp.Compare(a.Name, b.Name) })
	r := &registry{sorted: defs, byName: make(map[string]*Definition, len(defs))}
	for i := range defs {
		r.byName[defs[i].Name] = &defs[i]
	}
	return r
}

// The registries. They are read only.
var (
	topics  = newRegistry(topicDefinitions)
	groups  = newRegistry(groupDefinitions)
	brokers = newRegistry(slices.Concat(readOnlyDefinitions(), throttles, tieringDefinitions, lifecycleDefinitions, defaultsOfTopics()))
)

func readOnlyDefinitions() []Definition {
	defs := slices.Concat(readOnly, lifecycleReadOnly)
	for i := range defs {
		defs[i].ReadOnly = true
	}
	return defs
}

// defaultsOfTopics defines the broker configs that are synonyms of topic configs.
// They can be altered while the broker runs.
func defaultsOfTopics() []Definition {
	var defs []Definition
	for i := range topicDefinitions {
		for at, s := range topicDefinitions[i].Synonyms {
			d := topicDefinitions[i]
			d.Name, d.Synonyms = s.Name, nil
			if s.Scale > 1 {
				d.Type, d.check = Int, atLeast(0)
			}
			if at > 0 || s.Scale > 1 {
				d.Default, d.NoValue = "", true
			}
			if s.Name == "log.retention.hours" || s.Name == "log.roll.hours" {
				d.Default, d.NoValue = "168", false
			}
			if s.Name == "log.retention.ms" || s.Name == "log.roll.ms" {
				d.Default, d.NoValue = "", true
			}
			defs = append(defs, d)
		}
	}
	return defs
}

// Topics lists the configs of topics in order of name: read only.
func Topics() []Definition { return topics.sorted }

// Brokers lists the configs of brokers in order of name: read only.
func Brokers() []Definition { return brokers.sorted }

// Groups lists the configs of groups in order of name: read only.
func Groups() []Definition { return groups.sorted }

// Topic returns the topic config of that name.
func Topic(name string) (*Definition, bool) { return topics.find(name) }

// Broker returns the broker config of that name.
func Broker(name string) (*Definition, bool) { return brokers.find(name) }

// Group returns the group config of that name.
func Group(name string) (*Definition, bool) { return groups.find(name) }

func (r *registry) find(name string) (*Definition, bool) {
	d, ok := r.byName[name]
	return d, ok
}
