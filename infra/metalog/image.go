package metalog

import (
	"cmp"
	"hash/maphash"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
)

// shards is the number of parts that the topics are kept in, so that a change
// copies the part it touches and not all of ten thousand topics.
const shards = 128

var nameSeed = maphash.MakeSeed()

func nameShard(name string) int   { return int(maphash.String(nameSeed, name) % shards) }
func idShard(topic id.Topic) int  { return int(topic[len(topic)-1]) % shards }
func byNodeID(b, c *Broker) int   { return cmp.Compare(b.ID, c.ID) }
func byTopicName(t, u *Topic) int { return cmp.Compare(t.Name, u.Name) }

// PartitionState is who leads a partition.
type PartitionState struct {
	Leader   id.Broker // NoBroker: nobody
	Epoch    id.Epoch
	Replicas []id.Broker // in order of preference; shared: read only
	Target   id.Broker   // the broker that shall lead it; NoBroker: the leader stays
	Tails    []Tail      // where records may be that its chain does not have, oldest first; shared: read only
	Start    id.Offset   // log start: the first offset that readers may see
}

// Topic is a topic with its partitions, in order of index. It is shared by Images: read only.
type Topic struct {
	Name              string
	ID                id.Topic
	Partitions        []PartitionState
	Configs           map[string]string // only what was set; nil when nothing was
	ReplicationFactor int16
}

// Broker is a registered broker. It is shared by Images: read only.
type Broker struct {
	ID          id.Broker
	Incarnation id.Session
	Rack        string
	Endpoints   []Endpoint
	Fenced      bool // dead or gone
}

// Stream is the WAL stream of one run of a broker.
type Stream struct {
	Session id.Session `json:"session"`
	Node    id.Broker  `json:"node"`
}

// Image is the cluster's metadata after a certain slot. It never changes; all of
// its methods are safe for concurrent use, and look-ups allocate nothing.
type Image struct {
	version        uint64
	clusterID      string
	nextProducerID int64
	ignored        uint64
	byName         [shards]map[string]*Topic
	byID           [shards]map[id.Topic]*Topic
	topics         []*Topic  // by name; derived from byName
	brokers        []*Broker // by id
	streams        []Stream  // oldest first
	configs        map[Resource]map[string]string
	features       map[string]int16
	keys           []Outcome // oldest first
}

// NewImage folds records over an empty cluster of the given id, as version 1. It
// serves tests and tools that need an Image without a Log.
func NewImage(clusterID string, records ...Record) *Image {
	all := append([]Record{ClusterCreated{ID: clusterID}}, records...)
	return fold(&Image{}, []Slot{{Seq: 1, Records: all}})
}

// ClusterID returns the id of the cluster, or "" before it was made.
func (m *Image) ClusterID() string { return m.clusterID }

// Version is the sequence of the last slot folded in, from 1; 0 is the empty log.
func (m *Image) Version() uint64 { return m.version }

// NextProducerID is the first producer id that no broker has been given.
func (m *Image) NextProducerID() int64 { return m.nextProducerID }

// Ignored counts the records, and single leader changes, that did not apply.
func (m *Image) Ignored() uint64 { return m.ignored }

// Topic returns the topic of that name, which is case-sensitive.
func (m *Image) Topic(name string) (*Topic, bool) {
	t, ok := m.byName[nameShard(name)][name]
	return t, ok
}

// TopicByID returns the topic of that id.
func (m *Image) TopicByID(topic id.Topic) (*Topic, bool) {
	t, ok := m.byID[idShard(topic)][topic]
	return t, ok
}

// Topics returns all topics in order of name. The slice is shared: read only.
func (m *Image) Topics() []*Topic { return m.topics }

// Partition returns the state of one partition.
func (m *Image) Partition(p id.Partition) (PartitionState, bool) {
	t, ok := m.byID[idShard(p.Topic)][p.Topic]
	if !ok || p.Index < 0 || int(p.Index) >= len(t.Partitions) {
		return PartitionState{}, false
	}
	return t.Partitions[p.Index], true
}

// Broker returns the registered broker of that id.
func (m *Image) Broker(node id.Broker) (*Broker, bool) {
	i, ok := slices.BinarySearchFunc(m.brokers, node, func(b *Broker, n id.Broker) int { return cmp.Compare(b.ID, n) })
	if !ok {
		return nil, false
	}
	return m.brokers[i], true
}

// WithFenced returns the Image with a broker fenced, and nothing of what follows from that.
func (m *Image) WithFenced(node id.Broker) *Image {
	b, ok := m.Broker(node)
	if !ok || b.Fenced {
		return m
	}
	fenced, next := *b, *m
	fenced.Fenced = true
	next.brokers = slices.Clone(m.brokers)
	next.brokers[slices.Index(m.brokers, b)] = &fenced
	return &next
}

// Brokers returns the registered brokers, fenced or not, in order of id. The slice is shared: read only.
func (m *Image) Brokers() []*Broker { return m.brokers }

// Streams returns the streams of all sessions that brokers were ever registered with, in
// order of registration, but for those that were released. The slice is shared: read only.
func (m *Image) Streams() []Stream { return m.streams }

// Stream returns the stream of a session, if it was registered and not released. Its
// cost grows with the number of streams.
func (m *Image) Stream(session id.Session) (Stream, bool) {
	for _, s := range m.streams {
		if s.Session == session {
			return s, true
		}
	}
	return Stream{}, false
}

// Feature returns the level of a feature, or false if none was ever set.
func (m *Image) Feature(name string) (level int16, set bool) {
	level, set = m.features[name]
	return level, set
}

// Config returns what was set for a resource, nil when nothing was. The map is shared: read only.
func (m *Image) Config(r Resource) map[string]string {
	if r.Type != ResourceTopic {
		return m.configs[r]
	}
	if t, ok := m.Topic(r.Name); ok {
		return t.Configs
	}
	return nil
}

// ConfiguredGroups returns the names of the groups for which something was set, in order.
func (m *Image) ConfiguredGroups() []string {
	var names []string
	for r := range m.configs {
		if r.Type == ResourceGroup {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}
