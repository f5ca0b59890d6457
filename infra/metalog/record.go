package metalog

import "github.com/forebaylog/forebay/infra/id"

// NoBroker stands for the leader of a partition that nobody leads.
const NoBroker id.Broker = -1

// Record is one change of the cluster's metadata. The types of this package that
// implement it are all there are. A record that does not apply to the Image it
// meets (each type says when) is ignored and counted, on every broker alike.
type Record interface {
	// kind is what marks the record in a slot.
	kind() kind
}

// kind is the type of a record and the version of its meaning, as a slot has them.
type kind struct {
	name    string
	version int
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

// BrokerRegistered adds a broker, or replaces what is known of it, opens the stream of
// its incarnation and ends that the broker is fenced. It does not apply to a negative id.
// A broker without an incarnation gets no stream.
type BrokerRegistered struct {
	ID          id.Broker  `json:"id"`
	Incarnation id.Session `json:"incarnation"` // of this run of the broker
	Rack        string     `json:"rack,omitempty"`
	Endpoints   []Endpoint `json:"endpoints"`
}

// BrokerRegisteredV1 is a BrokerRegistered from before there were streams: it opens none.
// It is read, and never appended any more.
type BrokerRegisteredV1 BrokerRegistered

// BrokerFenced marks a broker as dead or gone and clears the targets that name it; the
// broker stays registered, and the partitions that it leads are left as they are. It applies
// only when Session is what the broker is registered with, and it is not fenced yet.
type BrokerFenced struct {
	ID      id.Broker  `json:"id"`
	Session id.Session `json:"session"`
}

// BrokerRemoved forgets a broker, and clears the targets that name it; the partitions it
// leads are left as they are, and so are its streams. It does not apply to an unknown broker.
type BrokerRemoved struct {
	ID id.Broker `json:"id"`
}

// StreamsReleased forgets streams that hold no record which its chain does not have, with
// every Tail that names one. It does not apply to the session that a live broker is registered
// with, nor to one that neither a stream nor a Tail has. Each session applies, or not, on its own.
type StreamsReleased struct {
	Sessions []id.Session `json:"sessions"`
}

// Tail says that records of a partition which its chain does not have yet may be in the
// stream of Session, in slots up to and including Through.
type Tail struct {
	Session id.Session `json:"s"`
	Through uint64     `json:"t"`
}

// LeaderChange gives one partition a new leader and clears its target.
type LeaderChange struct {
	Partition id.Partition
	Leader    id.Broker
	Epoch     id.Epoch    // the new epoch: one above the current, or the change does not apply
	Replicas  []id.Broker // nil keeps the replicas
}

// LeadersChanged gives partitions new leaders. Each change applies, or not, on its own.
type LeadersChanged struct {
	Changes []LeaderChange `json:"changes"`
	// Tail is added to each partition that changes; nil adds none. One of the session
	// that the partition's last Tail has raises its Through instead.
	Tail *Tail `json:"tail,omitempty"`
}

// LeadershipTaken gives every partition that From leads to To, with its epoch raised
// by one and its target cleared; replicas stay as they are. From equals To when a broker starts
// again. It does not apply to a negative From or To; it applies, and does nothing, when From
// leads no partition.
type LeadershipTaken struct {
	From id.Broker `json:"from"`
	To   id.Broker `json:"to"`
	Tail *Tail     `json:"tail,omitempty"` // as in LeadersChanged
}

// PartitionTarget is the broker that shall lead a partition.
type PartitionTarget struct {
	Partition id.Partition
	Target    id.Broker // the leader of now, or NoBroker: clears what was set
}

// TargetsSet asks leaders to give partitions away; the change itself is a LeadersChanged
// by the leader of now. Each target applies, or not, on its own: not to an unknown partition,
// nor to a broker below NoBroker.
type TargetsSet struct {
	Targets []PartitionTarget `json:"targets"`
}

// ReplicasChange gives one partition other replicas.
type ReplicasChange struct {
	Partition id.Partition
	Replicas  []id.Broker // in order of preference
}

// ReplicasChanged gives partitions other replicas; leaders and epochs stay. The number of
// replicas of partition 0 becomes the replication factor of its topic. Each change applies, or
// not, on its own: not to an unknown partition, nor without a replica.
type ReplicasChanged struct {
	Changes []ReplicasChange `json:"changes"`
}

// StartMove raises the log start of one partition.
type StartMove struct {
	Partition id.Partition
	Epoch     id.Epoch  // the leader epoch under which it was decided: the current one, or the move does not apply
	Start     id.Offset // the first offset that remains
}

// LogStartsMoved raises the log starts of partitions: what lies below is gone for every
// reader, though its bytes may remain. Each move applies, or not, on its own: not to an unknown
// partition, nor under another epoch than the current one. A start that is not above that of now
// applies and changes nothing.
//
// It is a record, and no item beside the partition's chain, since it is then in one order with
// the changes of leaders: whoever leads next has read it, a leader that was replaced cannot move it
// any more, and one slot moves the starts of thousands of partitions at once, as retention does.
// Retention goes in the order of start, chain items, objects. A crash in between leaves items
// below the start that nobody reads, and what is left to be removed is known from the start alone.
type LogStartsMoved struct {
	Moves []StartMove `json:"moves"`
}

// FeatureFinalized sets the level at which the cluster uses a feature (KIP-584). It does not
// apply without a name, nor to a negative level.
type FeatureFinalized struct {
	Name  string `json:"name"`
	Level int16  `json:"level"`
	Since string `json:"since,omitempty"` // of LevelFeature: the first release that supports the level
}

// ProducerIDsAllocated hands Count producer ids from First on to a broker. It does
// not apply when First is not the next free id, or Count is not positive.
type ProducerIDsAllocated struct {
	Broker id.Broker `json:"broker"`
	First  int64     `json:"first"`
	Count  int64     `json:"count"`
}

func (ClusterCreated) kind() kind       { return kind{"cluster-created", 1} }
func (TopicCreated) kind() kind         { return kind{"topic-created", 1} }
func (TopicDeleted) kind() kind         { return kind{"topic-deleted", 1} }
func (PartitionsAdded) kind() kind      { return kind{"partitions-added", 1} }
func (ConfigChanged) kind() kind        { return kind{"config-changed", 1} }
func (BrokerRegistered) kind() kind     { return kind{"broker-registered", 2} }
func (BrokerRegisteredV1) kind() kind   { return kind{"broker-registered", 1} }
func (BrokerFenced) kind() kind         { return kind{"broker-fenced", 1} }
func (BrokerRemoved) kind() kind        { return kind{"broker-removed", 1} }
func (StreamsReleased) kind() kind      { return kind{"streams-released", 1} }
func (LeadersChanged) kind() kind       { return kind{"leaders-changed", 2} }
func (LeadershipTaken) kind() kind      { return kind{"leadership-taken", 2} }
func (TargetsSet) kind() kind           { return kind{"targets-set", 1} }
func (ReplicasChanged) kind() kind      { return kind{"replicas-changed", 1} }
func (LogStartsMoved) kind() kind       { return kind{"log-starts-moved", 1} }
func (FeatureFinalized) kind() kind     { return kind{"feature-finalized", 1} }
func (ProducerIDsAllocated) kind() kind { return kind{"producer-ids-allocated", 1} }
func (Audited) kind() kind              { return kind{"audited", 1} }
