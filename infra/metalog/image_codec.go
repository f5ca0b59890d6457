package metalog

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
)

// jsonImage is the JSON of a snapshot; its lists are sorted, so that equal Images
// have equal JSON.
type jsonImage struct {
	Version        uint64       `json:"version"`
	ClusterID      string       `json:"cluster"`
	NextProducerID int64        `json:"nextProducerId"`
	Ignored        uint64       `json:"ignored"`
	Topics         []jsonTopic  `json:"topics"`
	Brokers        []jsonBroker `json:"brokers"`
	Streams        []Stream     `json:"streams,omitempty"`
	Configs        []jsonConfig `json:"configs"`

	Features map[string]int16 `json:"features,omitempty"`
	Keys     []Outcome        `json:"keys,omitempty"`
}

type jsonTopic struct {
	Name              string            `json:"name"`
	ID                topicText         `json:"id"`
	ReplicationFactor int16             `json:"rf"`
	Configs           map[string]string `json:"configs,omitempty"`
	Partitions        []jsonPartition   `json:"partitions"`
}

type jsonPartition struct {
	Leader   id.Broker   `json:"l"`
	Epoch    id.Epoch    `json:"e"`
	Replicas []id.Broker `json:"r"`
	Target   *id.Broker  `json:"to,omitempty"` // nil: NoBroker
	Tails    []Tail      `json:"tails,omitempty"`
	Start    id.Offset   `json:"s,omitempty"`
}

type jsonBroker struct {
	ID          id.Broker  `json:"id"`
	Incarnation id.Session `json:"incarnation"`
	Rack        string     `json:"rack,omitempty"`
	Endpoints   []Endpoint `json:"endpoints"`
	Fenced      bool       `json:"fenced,omitempty"`
}

type jsonConfig struct {
	Resource Resource          `json:"resource"`
	Set      map[string]string `json:"set"`
}

// MarshalJSON writes the whole Image, as a snapshot has it. Equal Images have equal JSON.
func (m *Image) MarshalJSON() ([]byte, error) {
	j := jsonImage{
		Version: m.version, ClusterID: m.clusterID, NextProducerID: m.nextProducerID, Ignored: m.ignored,
		Topics: make([]jsonTopic, len(m.topics)), Brokers: make([]jsonBroker, len(m.brokers)),
		Streams: m.streams, Features: m.features, Keys: m.keys,
	}
	for i, t := range m.topics {
		j.Topics[i] = topicToJSON(t)
	}
	for i, b := range m.brokers {
		j.Brokers[i] = jsonBroker(*b)
	}
	for r, set := range m.configs {
		j.Configs = append(j.Configs, jsonConfig{Resource: r, Set: set})
	}
	slices.SortFunc(j.Configs, func(a, b jsonConfig) int { return a.Resource.compare(b.Resource) })
	return json.Marshal(j)
}

func (r Resource) compare(s Resource) int {
	return cmp.Or(cmp.Compare(r.Type, s.Type), cmp.Compare(r.Name, s.Name))
}

func topicToJSON(t *Topic) jsonTopic {
	j := jsonTopic{
		Name: t.Name, ID: topicText(t.ID), ReplicationFactor: t.ReplicationFactor,
		Configs: t.Configs, Partitions: make([]jsonPartition, len(t.Partitions)),
	}
	for i, p := range t.Partitions {
		j.Partitions[i] = jsonPartition{Leader: p.Leader, Epoch: p.Epoch, Replicas: p.Replicas, Tails: p.Tails, Start: p.Start}
		if p.Target != NoBroker {
			j.Partitions[i].Target = &p.Target
		}
	}
	return j
}

// encodeImage returns the snapshot of m.
func encodeImage(m *Image) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode snapshot: %w", err)
	}
	return appendFrame(nil, imageMagic, snapshotVersion(m.Level()), body)
}

// decodeImage reads what encodeImage writes. It fails with ErrCorrupt or ErrNewer.
func decodeImage(b []byte) (*Image, error) {
	body, err := decodeFrame(imageMagic, b)
	if err != nil {
		return nil, err
	}
	var j jsonImage
	if err := json.Unmarshal(body, &j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	m, err := j.image()
	if err != nil {
		return nil, err
	}
	m.raise(levelOfSnapshot(b[4]))
	return m, nil
}

func (j *jsonImage) image() (*Image, error) {
	m := &Image{version: j.Version, clusterID: j.ClusterID, nextProducerID: j.NextProducerID, ignored: j.Ignored}
	for i := range j.Topics {
		if err := m.restoreTopic(&j.Topics[i]); err != nil {
			return nil, err
		}
	}
	for i, b := range j.Brokers {
		if b.ID < 0 || i > 0 && j.Brokers[i-1].ID >= b.ID {
			return nil, fmt.Errorf("%w: broker %v is out of order", ErrCorrupt, b.ID)
		}
		broker := Broker(b)
		m.brokers = append(m.brokers, &broker)
	}
	for _, s := range j.Streams {
		if _, doubled := m.Stream(s.Session); doubled || s.Session == "" {
			return nil, fmt.Errorf("%w: stream %q is doubled or has no name", ErrCorrupt, s.Session)
		}
		m.streams = append(m.streams, s)
	}
	for name, level := range j.Features {
		if name == "" || level < 0 {
			return nil, fmt.Errorf("%w: feature %q has level %d", ErrCorrupt, name, level)
		}
	}
	if len(j.Features) > 0 {
		m.features = j.Features
	}
	for i, c := range j.Configs {
		known := c.Resource.Type == ResourceBroker || c.Resource.Type == ResourceGroup
		if !known || len(c.Set) == 0 || i > 0 && j.Configs[i-1].Resource.compare(c.Resource) >= 0 {
			return nil, fmt.Errorf("%w: configs of %+v are out of order or empty", ErrCorrupt, c.Resource)
		}
		if m.configs == nil {
			m.configs = make(map[Resource]map[string]string, len(j.Configs))
		}
		m.configs[c.Resource] = c.Set
	}
	return m, m.restoreKeys(j.Keys)
}

// restoreTopic adds the next topic in order of name.
func (m *Image) restoreTopic(j *jsonTopic) error {
	topic := id.Topic(j.ID)
	_, taken := m.TopicByID(topic)
	ordered := len(m.topics) == 0 || m.topics[len(m.topics)-1].Name < j.Name
	if j.Name == "" || topic.IsZero() || taken || !ordered || len(j.Partitions) == 0 {
		return fmt.Errorf("%w: topic %q (%v) is out of order, doubled or empty", ErrCorrupt, j.Name, topic)
	}
	t := &Topic{
		Name: j.Name, ID: topic, ReplicationFactor: j.ReplicationFactor,
		Configs: j.Configs, Partitions: make([]PartitionState, len(j.Partitions)),
	}
	if len(t.Configs) == 0 {
		t.Configs = nil
	}
	for i, p := range j.Partitions {
		t.Partitions[i] = PartitionState{Leader: p.Leader, Epoch: p.Epoch, Replicas: p.Replicas, Target: NoBroker, Start: p.Start}
		if p.Target != nil {
			t.Partitions[i].Target = *p.Target
		}
		if len(p.Tails) > 0 {
			t.Partitions[i].Tails = p.Tails
		}
	}
	m.topics = append(m.topics, t)
	put(&m.byName[nameShard(t.Name)], t.Name, t)
	put(&m.byID[idShard(t.ID)], t.ID, t)
	return nil
}

func put[K comparable](shard *map[K]*Topic, key K, t *Topic) {
	if *shard == nil {
		*shard = map[K]*Topic{}
	}
	(*shard)[key] = t
}
