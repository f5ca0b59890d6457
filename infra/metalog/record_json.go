package metalog

import (
	"encoding/json"

	"github.com/forebaylog/forebay/infra/id"
)

// topicText is a topic's id as JSON has it.
type topicText id.Topic

// MarshalText implements encoding.TextMarshaler.
func (t topicText) MarshalText() ([]byte, error) { return []byte(id.Topic(t).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *topicText) UnmarshalText(b []byte) error {
	topic, err := id.ParseTopic(string(b))
	*t = topicText(topic)
	return err
}

// The JSON of records with a topic's id: their own fields, and the id as text.
type (
	plainTopicCreated    TopicCreated
	plainPartitionsAdded PartitionsAdded

	jsonTopicCreated struct {
		ID topicText `json:"id"`
		*plainTopicCreated
	}
	jsonTopicDeleted struct {
		ID topicText `json:"id"`
	}
	jsonPartitionsAdded struct {
		ID topicText `json:"id"`
		*plainPartitionsAdded
	}
	jsonLeaderChange struct {
		Topic    topicText   `json:"topic"`
		Index    int32       `json:"p"`
		Leader   id.Broker   `json:"l"`
		Epoch    id.Epoch    `json:"e"`
		Replicas []id.Broker `json:"r,omitempty"`
	}
	jsonTarget struct {
		Topic  topicText `json:"topic"`
		Index  int32     `json:"p"`
		Target id.Broker `json:"to"`
	}
	jsonReplicasChange struct {
		Topic    topicText   `json:"topic"`
		Index    int32       `json:"p"`
		Replicas []id.Broker `json:"r"`
	}
	jsonStartMove struct {
		Topic topicText `json:"topic"`
		Index int32     `json:"p"`
		Epoch id.Epoch  `json:"e"`
		Start id.Offset `json:"s"`
	}
)

// MarshalJSON implements json.Marshaler.
func (r TopicCreated) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonTopicCreated{topicText(r.ID), (*plainTopicCreated)(&r)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *TopicCreated) UnmarshalJSON(b []byte) error {
	j := jsonTopicCreated{plainTopicCreated: (*plainTopicCreated)(r)}
	err := json.Unmarshal(b, &j)
	r.ID = id.Topic(j.ID)
	return err
}

// MarshalJSON implements json.Marshaler.
func (r TopicDeleted) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonTopicDeleted{topicText(r.ID)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *TopicDeleted) UnmarshalJSON(b []byte) error {
	var j jsonTopicDeleted
	err := json.Unmarshal(b, &j)
	r.ID = id.Topic(j.ID)
	return err
}

// MarshalJSON implements json.Marshaler.
func (r PartitionsAdded) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonPartitionsAdded{topicText(r.ID), (*plainPartitionsAdded)(&r)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *PartitionsAdded) UnmarshalJSON(b []byte) error {
	j := jsonPartitionsAdded{plainPartitionsAdded: (*plainPartitionsAdded)(r)}
	err := json.Unmarshal(b, &j)
	r.ID = id.Topic(j.ID)
	return err
}

// MarshalJSON implements json.Marshaler.
func (c LeaderChange) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonLeaderChange{topicText(c.Partition.Topic), c.Partition.Index, c.Leader, c.Epoch, c.Replicas})
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *LeaderChange) UnmarshalJSON(b []byte) error {
	var j jsonLeaderChange
	err := json.Unmarshal(b, &j)
	*c = LeaderChange{
		Partition: id.Partition{Topic: id.Topic(j.Topic), Index: j.Index},
		Leader:    j.Leader, Epoch: j.Epoch, Replicas: j.Replicas,
	}
	return err
}

// MarshalJSON implements json.Marshaler.
func (t PartitionTarget) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonTarget{topicText(t.Partition.Topic), t.Partition.Index, t.Target})
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *PartitionTarget) UnmarshalJSON(b []byte) error {
	var j jsonTarget
	err := json.Unmarshal(b, &j)
	*t = PartitionTarget{Partition: id.Partition{Topic: id.Topic(j.Topic), Index: j.Index}, Target: j.Target}
	return err
}

// MarshalJSON implements json.Marshaler.
func (c ReplicasChange) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonReplicasChange{topicText(c.Partition.Topic), c.Partition.Index, c.Replicas})
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *ReplicasChange) UnmarshalJSON(b []byte) error {
	var j jsonReplicasChange
	err := json.Unmarshal(b, &j)
	*c = ReplicasChange{Partition: id.Partition{Topic: id.Topic(j.Topic), Index: j.Index}, Replicas: j.Replicas}
	return err
}

// MarshalJSON implements json.Marshaler.
func (m StartMove) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonStartMove{topicText(m.Partition.Topic), m.Partition.Index, m.Epoch, m.Start})
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *StartMove) UnmarshalJSON(b []byte) error {
	var j jsonStartMove
	err := json.Unmarshal(b, &j)
	*m = StartMove{Partition: id.Partition{Topic: id.Topic(j.Topic), Index: j.Index}, Epoch: j.Epoch, Start: j.Start}
	return err
}
