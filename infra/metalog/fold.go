package metalog

import (
	"maps"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
)

// Slot is a decoded slot of the log. Its records were appended together.
type Slot struct {
	Seq     uint64 // from 1
	Records []Record
}

// folder makes one new Image from an old one and any number of slots. It copies a
// part of the old Image before the first change of that part, and only then.
type folder struct {
	old       *Image
	img       *Image
	ownName   [shards]bool
	ownID     [shards]bool
	ownConfig bool
	ownKeys   bool
	replaced  map[*Topic]*Topic // topics of the old Image, by what has taken their place; nil when removed
	fresh     map[*Topic]bool   // made by this folder, so it may change them; false when removed since
	added     []*Topic          // of those, the ones under new ids
}

// fold applies slots, which follow m one by one, and returns the Image after the
// last. It is total: no record makes it fail, and the result depends on nothing
// but m and the records.
func fold(m *Image, slots []Slot) *Image {
	next := *m
	f := folder{old: m, img: &next, replaced: map[*Topic]*Topic{}, fresh: map[*Topic]bool{}}
	for _, s := range slots {
		next.version = s.Seq
		for _, r := range s.Records {
			if !f.apply(r) {
				next.ignored++
			}
			next.raise(levelOf(r)) // written before there were levels
		}
	}
	next.topics = f.sortedTopics()
	return &next
}

// apply reports whether the record applied.
func (f *folder) apply(r Record) bool {
	switch r := r.(type) {
	case ClusterCreated:
		return f.clusterCreated(r)
	case TopicCreated:
		return f.topicCreated(r)
	case TopicDeleted:
		return f.topicDeleted(r)
	case PartitionsAdded:
		return f.partitionsAdded(r)
	case ConfigChanged:
		return f.configChanged(r)
	case BrokerRegistered:
		return f.brokerRegistered(r)
	case BrokerRegisteredV1:
		return f.putBroker(BrokerRegistered(r))
	case BrokerFenced:
		return f.brokerFenced(r)
	case BrokerRemoved:
		return f.brokerRemoved(r)
	case StreamsReleased:
		return f.streamsReleased(r)
	case LeadersChanged:
		return f.leadersChanged(r)
	case LeadershipTaken:
		return f.leadershipTaken(r)
	case TargetsSet:
		return f.targetsSet(r)
	case ReplicasChanged:
		return f.replicasChanged(r)
	case LogStartsMoved:
		return f.logStartsMoved(r)
	case FeatureFinalized:
		return f.featureFinalized(r)
	case ProducerIDsAllocated:
		return f.producerIDsAllocated(r)
	case Audited:
		return f.audited(r)
	default:
		return false
	}
}

func (f *folder) clusterCreated(r ClusterCreated) bool {
	if r.ID == "" || f.img.clusterID != "" {
		return false
	}
	f.img.clusterID = r.ID
	return true
}

func (f *folder) topicCreated(r TopicCreated) bool {
	if r.Name == "" || r.ID.IsZero() || len(r.Partitions) == 0 {
		return false
	}
	if _, taken := f.img.Topic(r.Name); taken {
		return false
	}
	if _, taken := f.img.TopicByID(r.ID); taken {
		return false
	}
	t := &Topic{Name: r.Name, ID: r.ID, Configs: r.Configs, ReplicationFactor: r.ReplicationFactor}
	if len(t.Configs) == 0 {
		t.Configs = nil
	}
	t.Partitions = appendAssigned(make([]PartitionState, 0, len(r.Partitions)), r.Partitions)
	f.put(t)
	f.added = append(f.added, t)
	return true
}

func appendAssigned(to []PartitionState, as []Assignment) []PartitionState {
	for _, a := range as {
		to = append(to, PartitionState{Leader: a.Leader, Replicas: a.Replicas, Target: NoBroker})
	}
	return to
}

func (f *folder) topicDeleted(r TopicDeleted) bool {
	t, ok := f.img.TopicByID(r.ID)
	if !ok {
		return false
	}
	delete(f.names(t.Name), t.Name)
	delete(f.ids(t.ID), t.ID)
	if f.fresh[t] {
		f.fresh[t] = false
	} else {
		f.replaced[t] = nil
	}
	return true
}

func (f *folder) partitionsAdded(r PartitionsAdded) bool {
	t, ok := f.img.TopicByID(r.ID)
	if !ok || len(r.Partitions) == 0 {
		return false
	}
	t = f.mutable(t)
	t.Partitions = appendAssigned(t.Partitions, r.Partitions)
	return true
}

func (f *folder) configChanged(r ConfigChanged) bool {
	switch r.Resource.Type {
	case ResourceTopic:
		t, ok := f.img.Topic(r.Resource.Name)
		if !ok {
			return false
		}
		t = f.mutable(t)
		t.Configs = withConfigs(t.Configs, r.Set)
		return true
	case ResourceBroker, ResourceGroup:
		if !f.ownConfig {
			f.img.configs, f.ownConfig = maps.Clone(f.img.configs), true
		}
		if f.img.configs == nil {
			f.img.configs = map[Resource]map[string]string{}
		}
		if c := withConfigs(f.img.configs[r.Resource], r.Set); c != nil {
			f.img.configs[r.Resource] = c
		} else {
			delete(f.img.configs, r.Resource)
		}
		return true
	default:
		return false
	}
}

// withConfigs returns a copy of old with the changes made, nil when nothing is left.
func withConfigs(old map[string]string, set map[string]*string) map[string]string {
	next := make(map[string]string, len(old)+len(set))
	maps.Copy(next, old)
	for name, value := range set {
		if value == nil {
			delete(next, name)
		} else {
			next[name] = *value
		}
	}
	if len(next) == 0 {
		return nil
	}
	return next
}

func (f *folder) featureFinalized(r FeatureFinalized) bool {
	if r.Name == "" || r.Level < 0 {
		return false
	}
	next := make(map[string]int16, len(f.img.features)+1)
	maps.Copy(next, f.img.features)
	next[r.Name] = r.Level
	f.img.features = next
	return true
}

func (f *folder) producerIDsAllocated(r ProducerIDsAllocated) bool {
	next := r.First + r.Count
	if r.First != f.img.nextProducerID || r.Count <= 0 || next < r.First {
		return false
	}
	f.img.nextProducerID = next
	return true
}

// mutable returns t, or the copy of t that has taken its place in the new Image.
func (f *folder) mutable(t *Topic) *Topic {
	if f.fresh[t] {
		return t
	}
	next := *t
	next.Partitions = slices.Clone(t.Partitions)
	f.put(&next)
	f.replaced[t] = &next
	return &next
}

func (f *folder) put(t *Topic) {
	f.names(t.Name)[t.Name] = t
	f.ids(t.ID)[t.ID] = t
	f.fresh[t] = true
}

// names returns the part of the new Image's names that name belongs to, to be changed.
func (f *folder) names(name string) map[string]*Topic {
	return own(&f.img.byName, &f.ownName, nameShard(name))
}

func (f *folder) ids(topic id.Topic) map[id.Topic]*Topic {
	return own(&f.img.byID, &f.ownID, idShard(topic))
}

func own[K comparable](parts *[shards]map[K]*Topic, owned *[shards]bool, i int) map[K]*Topic {
	if !owned[i] {
		parts[i], owned[i] = maps.Clone(parts[i]), true
	}
	if parts[i] == nil {
		parts[i] = map[K]*Topic{}
	}
	return parts[i]
}

// sortedTopics brings the old order of names up to date with the changes.
func (f *folder) sortedTopics() []*Topic {
	if len(f.replaced) == 0 && len(f.added) == 0 {
		return f.old.topics
	}
	added := slices.DeleteFunc(f.added, func(t *Topic) bool { return !f.fresh[t] })
	slices.SortFunc(added, byTopicName)
	topics := make([]*Topic, 0, len(f.old.topics)+len(added))
	for _, t := range f.old.topics {
		if next, ok := f.replaced[t]; ok {
			if t = next; !f.fresh[t] {
				continue
			}
		}
		for len(added) > 0 && added[0].Name < t.Name {
			topics, added = append(topics, added[0]), added[1:]
		}
		topics = append(topics, t)
	}
	return append(topics, added...)
}
