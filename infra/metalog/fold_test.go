package metalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/infra/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func topicID(n int) id.Topic { return id.Topic{15: byte(n), 14: byte(n >> 8), 0: 1} }

func led(leaders ...id.Broker) []Assignment {
	as := make([]Assignment, len(leaders))
	for i, l := range leaders {
		as[i] = Assignment{Leader: l, Replicas: []id.Broker{l}}
	}
	return as
}

func created(name string, n int, leaders ...id.Broker) TopicCreated {
	return TopicCreated{Name: name, ID: topicID(n), Partitions: led(leaders...), ReplicationFactor: 1}
}

func set(kv ...string) map[string]*string {
	m := map[string]*string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = &kv[i+1]
	}
	return m
}

// describe is the Image as JSON, without its version and cluster.
func describe(t *testing.T, m *Image) string {
	t.Helper()
	checkImage(t, m)
	j := *m
	j.version, j.clusterID = 0, ""
	b, err := json.Marshal(&j)
	require.NoError(t, err)
	return string(b)
}

// checkImage: the indexes of an Image agree with each other.
func checkImage(t *testing.T, m *Image) {
	t.Helper()
	names, ids := 0, 0
	for i := range shards {
		names, ids = names+len(m.byName[i]), ids+len(m.byID[i])
	}
	require.Equal(t, len(m.topics), names)
	require.Equal(t, len(m.topics), ids)
	require.True(t, slices.IsSortedFunc(m.topics, byTopicName))
	require.True(t, slices.IsSortedFunc(m.brokers, byNodeID))
	for _, s := range m.streams {
		found, ok := m.Stream(s.Session)
		require.True(t, ok)
		require.Equal(t, s, found, "a stream is doubled")
	}
	for _, want := range m.topics {
		byName, ok := m.Topic(want.Name)
		require.True(t, ok)
		require.Same(t, want, byName)
		byID, ok := m.TopicByID(want.ID)
		require.True(t, ok)
		require.Same(t, want, byID)
	}
}

func part(n, index int) id.Partition { return id.Partition{Topic: topicID(n), Index: int32(index)} }

// foldCases are records and what they do to the cluster of TestFold; without a
// check the record must do nothing.
var foldCases = map[string]struct {
	record  Record
	check   func(t *testing.T, m *Image)
	ignored uint64
}{
	"cluster already named":     {record: ClusterCreated{ID: "other"}, ignored: 1},
	"topic of a taken name":     {record: created("orders", 3, 1), ignored: 1},
	"topic of a taken id":       {record: created("third", 1, 1), ignored: 1},
	"topic without a name":      {record: created("", 3, 1), ignored: 1},
	"topic without an id":       {record: TopicCreated{Name: "third", Partitions: led(1)}, ignored: 1},
	"topic without a partition": {record: created("third", 3), ignored: 1},
	"topic created": {record: created("ORDERS", 3, 7), check: func(t *testing.T, m *Image) {
		require.Equal(t, "ORDERS Orders orders", topicNames(m))
		state, ok := m.Partition(part(3, 0))
		require.True(t, ok)
		require.Equal(t, PartitionState{Leader: 7, Epoch: 0, Replicas: []id.Broker{7}, Target: NoBroker}, state)
	}},
	"topic deleted": {record: TopicDeleted{ID: topicID(1)}, check: func(t *testing.T, m *Image) {
		require.Equal(t, "Orders", topicNames(m))
		_, ok := m.Partition(part(1, 0))
		require.False(t, ok)
	}},
	"unknown topic deleted": {record: TopicDeleted{ID: topicID(9)}, ignored: 1},
	"partitions added": {record: PartitionsAdded{ID: topicID(2), Partitions: led(3, 4)}, check: func(t *testing.T, m *Image) {
		topic, _ := m.Topic("Orders")
		require.Len(t, topic.Partitions, 3)
		require.Equal(t, id.Broker(4), topic.Partitions[2].Leader)
	}},
	"partitions of an unknown topic": {record: PartitionsAdded{ID: topicID(9), Partitions: led(1)}, ignored: 1},
	"no partitions added":            {record: PartitionsAdded{ID: topicID(1)}, ignored: 1},
	"topic config": {record: ConfigChanged{Resource{ResourceTopic, "orders"}, set("a", "1", "b", "2")}, check: func(t *testing.T, m *Image) {
		require.Equal(t, map[string]string{"a": "1", "b": "2"}, m.Config(Resource{ResourceTopic, "orders"}))
		require.Nil(t, m.Config(Resource{ResourceTopic, "Orders"}))
	}},
	"config of an unknown topic":    {record: ConfigChanged{Resource{ResourceTopic, "none"}, set("a", "1")}, ignored: 1},
	"config of an unknown resource": {record: ConfigChanged{Resource{"planet", "earth"}, set("a", "1")}, ignored: 1},
	"broker config": {record: ConfigChanged{Resource{ResourceBroker, ""}, set("a", "1")}, check: func(t *testing.T, m *Image) {
		require.Equal(t, map[string]string{"a": "1"}, m.Config(Resource{ResourceBroker, ""}))
		require.Nil(t, m.Config(Resource{ResourceBroker, "1"}))
	}},
	"broker registered again": {record: BrokerRegistered{ID: 1, Incarnation: "two"}, check: func(t *testing.T, m *Image) {
		b, ok := m.Broker(1)
		require.True(t, ok)
		require.Equal(t, id.Session("two"), b.Incarnation)
		require.Len(t, m.Brokers(), 1)
	}},
	"broker of a negative id": {record: BrokerRegistered{ID: -1}, ignored: 1},
	"broker removed": {record: BrokerRemoved{ID: 1}, check: func(t *testing.T, m *Image) {
		require.Empty(t, m.Brokers())
		_, ok := m.Broker(1)
		require.False(t, ok)
	}},
	"unknown broker removed": {record: BrokerRemoved{ID: 9}, ignored: 1},
	"leader changed": {record: LeadersChanged{Changes: []LeaderChange{{Partition: part(1, 1), Leader: 5, Epoch: 1}}}, check: func(t *testing.T, m *Image) {
		state, _ := m.Partition(part(1, 1))
		require.Equal(t, PartitionState{Leader: 5, Epoch: 1, Replicas: []id.Broker{2}, Target: NoBroker}, state)
	}},
	"leader and replicas changed": {record: LeadersChanged{Changes: []LeaderChange{{part(1, 1), NoBroker, 1, []id.Broker{3, 4}}}}, check: func(t *testing.T, m *Image) {
		state, _ := m.Partition(part(1, 1))
		require.Equal(t, PartitionState{Leader: NoBroker, Epoch: 1, Replicas: []id.Broker{3, 4}, Target: NoBroker}, state)
	}},
	"each leader change on its own": {record: LeadersChanged{Changes: []LeaderChange{
		{Partition: part(1, 0), Leader: 5, Epoch: 2}, // skips an epoch
		{Partition: part(1, 1), Leader: 5, Epoch: 0}, // has no new epoch
		{Partition: part(1, 9), Leader: 5, Epoch: 1},
		{Partition: part(1, -1), Leader: 5, Epoch: 1},
		{Partition: part(9, 0), Leader: 5, Epoch: 1},
		{Partition: part(2, 0), Leader: -7, Epoch: 1},
		{Partition: part(2, 0), Leader: 5, Epoch: 1},
		{Partition: part(2, 0), Leader: 6, Epoch: 2},
	}}, ignored: 6, check: func(t *testing.T, m *Image) {
		state, _ := m.Partition(part(2, 0))
		require.Equal(t, id.Broker(6), state.Leader)
		require.Equal(t, id.Epoch(2), state.Epoch)
	}},
	"leadership taken": {record: LeadershipTaken{From: 1, To: 3}, check: func(t *testing.T, m *Image) {
		topic, _ := m.Topic("orders")
		require.Equal(t, []PartitionState{
			{Leader: 3, Epoch: 1, Replicas: []id.Broker{1}, Target: NoBroker},
			{Leader: 2, Epoch: 0, Replicas: []id.Broker{2}, Target: NoBroker},
			{Leader: 3, Epoch: 1, Replicas: []id.Broker{1}, Target: NoBroker},
		}, topic.Partitions)
	}},
	"leadership taken by the same": {record: LeadershipTaken{From: 2, To: 2}, check: func(t *testing.T, m *Image) {
		state, _ := m.Partition(part(2, 0))
		require.Equal(t, PartitionState{Leader: 2, Epoch: 1, Replicas: []id.Broker{2}, Target: NoBroker}, state)
		state, _ = m.Partition(part(1, 0))
		require.Equal(t, id.Epoch(0), state.Epoch)
	}},
	"leadership of nobody":  {record: LeadershipTaken{From: NoBroker, To: 1}, ignored: 1},
	"leadership to nobody":  {record: LeadershipTaken{From: 1, To: NoBroker}, ignored: 1},
	"leadership of nothing": {record: LeadershipTaken{From: 9, To: 1}, check: func(t *testing.T, m *Image) { require.Zero(t, m.Ignored()) }},
	"producer ids": {record: ProducerIDsAllocated{Broker: 1, First: 0, Count: 1000}, check: func(t *testing.T, m *Image) {
		require.Equal(t, int64(1000), m.NextProducerID())
	}},
	"feature": {record: FeatureFinalized{Name: "f", Level: 2}, check: func(t *testing.T, m *Image) {
		level, set := m.Feature("f")
		require.True(t, set)
		require.EqualValues(t, 2, level)
		_, set = m.Feature("g")
		require.False(t, set)
	}},
	"feature without a name":      {record: FeatureFinalized{Level: 1}, ignored: 1},
	"feature of a negative level": {record: FeatureFinalized{Name: "f", Level: -1}, ignored: 1},
	"producer ids out of turn":    {record: ProducerIDsAllocated{Broker: 1, First: 1, Count: 10}, ignored: 1},
	"no producer ids":             {record: ProducerIDsAllocated{Broker: 1, First: 0, Count: 0}, ignored: 1},
	"producer ids that overflow":  {record: ProducerIDsAllocated{Broker: 1, First: 0, Count: -1 << 63}, ignored: 1},
}

// TestFold: what each record does. A record that does not apply changes nothing but the count.
func TestFold(t *testing.T) {
	base := []Record{
		BrokerRegistered{ID: 1, Incarnation: "one"},
		created("orders", 1, 1, 2, 1),
		created("Orders", 2, 2),
	}
	for name, c := range foldCases {
		t.Run(name, func(t *testing.T) {
			before := NewImage("cluster", base...)
			untouched := describe(t, before)
			m := fold(before, []Slot{{Seq: 2, Records: []Record{c.record}}})
			after := describe(t, m)
			require.Equal(t, untouched, describe(t, before), "an Image never changes")
			require.Equal(t, c.ignored, m.Ignored())
			require.Equal(t, "cluster", m.ClusterID())
			require.Equal(t, uint64(2), m.Version())
			if c.check == nil {
				copied := *m
				copied.ignored = 0
				require.Equal(t, untouched, describe(t, &copied))
				return
			}
			if name != "leadership of nothing" {
				require.NotEqual(t, untouched, after)
			}
			c.check(t, m)
		})
	}
}

func topicNames(m *Image) string {
	names := ""
	for i, topic := range m.Topics() {
		if i > 0 {
			names += " "
		}
		names += topic.Name
	}
	return names
}

func TestFoldConfigsAreRemoved(t *testing.T) {
	for _, r := range []Resource{{ResourceTopic, "orders"}, {ResourceBroker, "1"}, {ResourceGroup, "g"}} {
		m := NewImage("c", created("orders", 1, 1), ConfigChanged{r, set("a", "1", "b", "2")})
		change := map[string]*string{"a": nil, "c": nil}
		maps.Copy(change, set("b", "3"))
		next := fold(m, []Slot{{2, []Record{ConfigChanged{r, change}}}})
		require.Equal(t, map[string]string{"b": "3"}, next.Config(r))
		require.Equal(t, map[string]string{"a": "1", "b": "2"}, m.Config(r))
		next = fold(next, []Slot{{3, []Record{ConfigChanged{r, map[string]*string{"b": nil}}}}})
		require.Nil(t, next.Config(r))
	}
}

// TestFoldSplit: slots folded one by one and all at once give the same Image.
func TestConfiguredGroups(t *testing.T) {
	m := NewImage("c")
	require.Empty(t, m.ConfiguredGroups())
	m = NewImage("c", ConfigChanged{Resource{ResourceGroup, "h"}, set("a", "1")}, ConfigChanged{Resource{ResourceBroker, "1"}, set("a", "1")},
		ConfigChanged{Resource{ResourceGroup, "g"}, set("a", "1")}, ConfigChanged{Resource{ResourceGroup, "gone"}, set("a", "1")},
		ConfigChanged{Resource{ResourceGroup, "gone"}, map[string]*string{"a": nil}})
	require.Equal(t, []string{"g", "h"}, m.ConfiguredGroups())
}

func TestFoldSplit(t *testing.T) {
	var slots []Slot
	for i := range 300 {
		var r Record = created(fmt.Sprint("topic ", i%120), i+1, 1, 2)
		switch i % 5 {
		case 3:
			r = TopicDeleted{ID: topicID(i - 2)}
		case 4:
			r = LeadershipTaken{From: 1, To: 1}
		}
		slots = append(slots, Slot{Seq: uint64(i + 1), Records: []Record{r}})
	}
	one := &Image{}
	for _, s := range slots {
		one = fold(one, []Slot{s})
	}
	require.Equal(t, describe(t, fold(&Image{}, slots)), describe(t, one))
	require.NotZero(t, one.Ignored())
	require.NotEmpty(t, one.Topics())
}

func manyTopics(topics, partitions int) *Image {
	var records []Record
	for i := range topics {
		leaders := make([]id.Broker, partitions)
		for j := range leaders {
			leaders[j] = id.Broker(j % 3)
		}
		records = append(records, TopicCreated{Name: fmt.Sprintf("topic-%05d", i), ID: id.NewTopic(), Partitions: led(leaders...)})
	}
	return NewImage("cluster", records...)
}

func TestLookupsAllocateNothing(t *testing.T) {
	m := manyTopics(1000, 3)
	topic := m.Topics()[500]
	m = fold(m, []Slot{{2, []Record{BrokerRegistered{ID: 1}, ConfigChanged{Resource{ResourceBroker, "1"}, set("a", "1")}}}})
	var found int
	allocs := testing.AllocsPerRun(100, func() {
		for _, ok := range []bool{
			second(m.Topic(topic.Name)), second(m.TopicByID(topic.ID)),
			second(m.Partition(id.Partition{Topic: topic.ID, Index: 2})), second(m.Broker(1)),
			m.Config(Resource{ResourceBroker, "1"}) != nil, len(m.Topics()) == 1000,
		} {
			if ok {
				found++
			}
		}
	})
	require.Zero(t, allocs)
	require.Equal(t, 6*101, found)
}

func second[T any](_ T, ok bool) bool { return ok }

func BenchmarkPartition(b *testing.B) {
	m := manyTopics(10_000, 1)
	topics := m.Topics()
	i := 0
	for b.Loop() {
		if _, ok := m.Partition(id.Partition{Topic: topics[i%len(topics)].ID}); !ok {
			b.Fatal("not found")
		}
		i++
	}
}

func BenchmarkLeadershipTaken(b *testing.B) {
	for _, c := range []struct{ topics, partitions int }{{10_000, 1}, {1, 10_000}, {100, 100}} {
		b.Run(fmt.Sprintf("%dx%d", c.topics, c.partitions), func(b *testing.B) {
			m := manyTopics(c.topics, c.partitions)
			for b.Loop() {
				m = fold(m, []Slot{{m.version + 1, []Record{LeadershipTaken{From: 0, To: 0}}}})
			}
		})
	}
}

func BenchmarkTopicCreatedAmong10000(b *testing.B) {
	m := manyTopics(10_000, 1)
	r := TopicCreated{Name: "a new one", ID: id.NewTopic(), Partitions: led(1)}
	for b.Loop() {
		fold(m, []Slot{{2, []Record{r}}})
	}
}
