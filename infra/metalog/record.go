package metalog

import "github.com/forebaylog/forebay/infra/id"

// NoBroker stands for the leader of a partition that nobody leads.
const NoBroker id.Broker = -1

// Record is one change of the cluster's metadata. The types of this package that
// implement it are all there are. A record that does not apply to the Image it
// meets (each type says when) is ignored and counted, on every broker alike.
type Record interface {
	// kind is the name of the record's type in a slot.
	kind() string
}

// ClusterCreated names the cluster. It does not apply when the cluster has a name.
type ClusterCreated struct {
	ID string `json:"id"`
}

// Assignment places one partition. Partitions are in order of index.
type Assignment struct {
	Leader   id.Broker   `json:"l"`
	Replicas []id.Broker `json:"r"`
}

// TopicCreated makes a topic whose partitions start at leader epoch 0. It does not
// apply when the name (case-sensitive) or the id is taken, or it has no name, id or partition.
type TopicCreated struct {
	Name              string            `json:"name"`
	ID                id.Topic          `json:"-"`
	Partitions        []Assignment      `json:"partitions"`
	Configs           map[string]string `json:"configs,omitempty"`
	ReplicationFactor int16             `json:"rf"`
}

// TopicDeleted removes a topic with its configs. It does not apply to an unknown id.
type TopicDeleted struct {
	ID id.Topic `json:"-"`
}

// PartitionsAdded appends partitions to a topic, at epoch 0. It does not apply to an
// unknown id, nor without a partition.
type PartitionsAdded struct {
	ID         id.Topic     `json:"-"`
	Partitions []Assignment `json:"partitions"`
}

// ResourceType is what a config belongs to.
type ResourceType string

// The resources that have configs.
const (
	ResourceTopic  ResourceType = "topic"
	ResourceBroker ResourceType = "broker" // Name is the node id in decimal, or "" for the default of all brokers
	ResourceGroup  ResourceType = "group"
)

// Resource names what a config belongs to.
type Resource struct {
	Type ResourceType `json:"type"`
	Name string       `json:"name"`
}

// ConfigChanged sets configs; a nil value removes one. It does not apply to a topic
// that does not exist, nor to an unknown type of resource.
type ConfigChanged struct {
	Resource Resource           `json:"resource"`
	Set      map[string]*string `json:"set"`
}

// Endpoint is one address that a broker advertises.
type Endpoint struct {
	Listener string `json:"listener"`
	Host     string `json:"host"`
	Port     int32  `json:"port"`
}

// BrokerRegistered adds a broker, or replaces what is known of it. It does not
// apply to a negative id.
type BrokerRegistered struct {
	ID          id.Broker  `json:"id"`
	Incarnation string     `json:"incarnation"` // differs for each start of the broker
	Rack        string     `json:"rack,omitempty"`
	Endpoints   []Endpoint `json:"endpoints"`
}

// BrokerRemoved forgets a broker; the partitions it leads are left as they are. It
// does not apply to an unknown broker.
type BrokerRemoved struct {
	ID id.Broker `json:"id"`
}

// LeaderChange gives one partition a new leader.
type LeaderChange struct {
	Partition id.Partition
	Leader    id.Broker
	Epoch     id.Epoch    // the new epoch: one above the current, or the change does not apply
	Replicas  []id.Broker // nil keeps the replicas
}

// LeadersChanged gives partitions new leaders. Each change applies, or not, on its own.
type LeadersChanged struct {
	Changes []LeaderChange `json:"changes"`
}

// LeadershipTaken gives every partition that From leads to To, with its epoch raised
// by one; replicas stay as they are. From equals To when a broker starts again. It does not
// apply to a negative From or To; it applies, and does nothing, when From leads no partition.
type LeadershipTaken struct {
	From id.Broker `json:"from"`
	To   id.Broker `json:"to"`
}

// ProducerIDsAllocated hands Count producer ids from First on to a broker. It does
// not apply when First is not the next free id, or Count is not positive.
type ProducerIDsAllocated struct {
	Broker id.Broker `json:"broker"`
	First  int64     `json:"first"`
	Count  int64     `json:"count"`
}

func (ClusterCreated) kind() string       { return "cluster-created" }
func (TopicCreated) kind() string         { return "topic-created" }
func (TopicDeleted) kind() string         { return "topic-deleted" }
func (PartitionsAdded) kind() string      { return "partitions-added" }
func (ConfigChanged) kind() string        { return "config-changed" }
func (BrokerRegistered) kind() string     { return "broker-registered" }
func (BrokerRemoved) kind() string        { return "broker-removed" }
func (LeadersChanged) kind() string       { return "leaders-changed" }
func (LeadershipTaken) kind() string      { return "leadership-taken" }
func (ProducerIDsAllocated) kind() string { return "producer-ids-allocated" }
