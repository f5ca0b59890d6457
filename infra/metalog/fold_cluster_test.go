package metalog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
)

// cluster2 has two brokers, of which 2 leads two of three partitions.
func cluster2(more ...Record) *Image {
	return NewImage("cluster", append([]Record{
		BrokerRegistered{ID: 1, Incarnation: "one"},
		BrokerRegistered{ID: 2, Incarnation: "two"},
		created("orders", 1, 1, 2, 2),
	}, more...)...)
}

func then(m *Image, records ...Record) *Image { return fold(m, []Slot{{m.version + 1, records}}) }

func state(t *testing.T, m *Image, p id.Partition) PartitionState {
	t.Helper()
	s, ok := m.Partition(p)
	require.True(t, ok)
	return s
}

func target(p id.Partition, node id.Broker) TargetsSet {
	return TargetsSet{Targets: []PartitionTarget{{p, node}}}
}

func TestFoldBrokerFenced(t *testing.T) {
	before := cluster2(target(part(1, 0), 2), target(part(1, 1), 1))
	for name, r := range map[string]BrokerFenced{
		"unknown":       {ID: 3, Session: "two"},
		"other session": {ID: 2, Session: "one"},
	} {
		m := then(before, r)
		require.Equal(t, uint64(1), m.Ignored(), name)
		b, _ := m.Broker(2)
		require.False(t, b.Fenced, name)
	}
	m := then(before, BrokerFenced{ID: 2, Session: "two"})
	require.Zero(t, m.Ignored())
	b, ok := m.Broker(2)
	require.True(t, ok)
	require.True(t, b.Fenced)
	unchanged, _ := before.Broker(2)
	require.False(t, unchanged.Fenced, "an Image never changes")
	require.Equal(t, NoBroker, state(t, m, part(1, 0)).Target, "nobody moves to a dead broker")
	require.Equal(t, id.Broker(1), state(t, m, part(1, 1)).Target, "one that moves away from it stays as it is")
	require.Equal(t, id.Broker(2), state(t, m, part(1, 1)).Leader)
	require.Equal(t, uint64(1), then(m, BrokerFenced{ID: 2, Session: "two"}).Ignored(), "only once")

	m = then(m, BrokerRegistered{ID: 2, Incarnation: "three"})
	b, _ = m.Broker(2)
	require.False(t, b.Fenced)
	require.Equal(t, uint64(1), then(m, BrokerFenced{ID: 2, Session: "two"}).Ignored(), "the fence of the run before comes late")
}

func TestFoldBrokerRemovedClearsTargets(t *testing.T) {
	m := cluster2(target(part(1, 0), 2), BrokerRemoved{ID: 2})
	require.Equal(t, NoBroker, state(t, m, part(1, 0)).Target)
	require.Len(t, m.Streams(), 2, "its stream may hold records")
}

func TestFoldStreams(t *testing.T) {
	m := cluster2(
		BrokerRegistered{ID: 1, Incarnation: "one again"},
		BrokerRegistered{ID: 2, Incarnation: "two"}, // once more
		BrokerRegistered{ID: 3},
		BrokerRegisteredV1{ID: 4, Incarnation: "old"},
	)
	require.Equal(t, []Stream{{"one", 1}, {"two", 2}, {"one again", 1}}, m.Streams())
	stream, ok := m.Stream("one again")
	require.True(t, ok)
	require.Equal(t, Stream{Session: "one again", Node: 1}, stream)
	require.False(t, second(m.Stream("old")))
	require.False(t, second(m.Stream("")))
	m = then(m, StreamsReleased{Sessions: []id.Session{"one"}}) // leaves room behind the last
	left, right := then(m, BrokerRegistered{ID: 5, Incarnation: "left"}), then(m, BrokerRegistered{ID: 5, Incarnation: "right"})
	require.True(t, second(left.Stream("left")), "an Image never changes")
	require.True(t, second(right.Stream("right")))
	old, ok := m.Broker(4)
	require.True(t, ok)
	require.Equal(t, id.Session("old"), old.Incarnation)
}

func TestFoldStreamsReleased(t *testing.T) {
	before := cluster2(
		BrokerRegistered{ID: 1, Incarnation: "one again"},
		LeadershipTaken{From: 1, To: 1, Tail: &Tail{"one", 5}},
		BrokerFenced{ID: 2, Session: "two"},
		LeadershipTaken{From: 2, To: 1, Tail: &Tail{"two", 7}},
		LeadershipTaken{From: 1, To: 1, Tail: &Tail{"one", 6}},
		LeadershipTaken{From: 1, To: 1, Tail: &Tail{"gone", 1}},
	)
	untouched := describe(t, before)
	m := then(before, StreamsReleased{Sessions: []id.Session{"one", "unknown", "one again", "one", "gone"}})
	require.Equal(t, untouched, describe(t, before), "an Image never changes")
	require.Equal(t, uint64(3), m.Ignored(), "unknown, live, doubled")
	require.Equal(t, []Stream{{"two", 2}, {"one again", 1}}, m.Streams())
	require.Empty(t, state(t, m, part(1, 0)).Tails)
	require.Equal(t, []Tail{{"two", 7}}, state(t, m, part(1, 1)).Tails)

	m = then(m, StreamsReleased{Sessions: []id.Session{"two"}}, BrokerFenced{ID: 1, Session: "one again"}, StreamsReleased{Sessions: []id.Session{"one again"}})
	require.Equal(t, uint64(3), m.Ignored())
	require.Empty(t, m.Streams())
	require.Empty(t, state(t, m, part(1, 2)).Tails)
}

func TestFoldTails(t *testing.T) {
	change := func(epoch id.Epoch, tail *Tail) Record {
		return LeadersChanged{Changes: []LeaderChange{{Partition: part(1, 0), Leader: 1, Epoch: epoch}}, Tail: tail}
	}
	m := cluster2()
	for i, step := range []struct {
		tail *Tail
		want []Tail
	}{
		{nil, nil},
		{&Tail{"a", 5}, []Tail{{"a", 5}}},
		{nil, []Tail{{"a", 5}}},
		{&Tail{"a", 7}, []Tail{{"a", 7}}},
		{&Tail{"a", 6}, []Tail{{"a", 7}}},
		{&Tail{"b", 1}, []Tail{{"a", 7}, {"b", 1}}},
		{&Tail{"a", 9}, []Tail{{"a", 7}, {"b", 1}, {"a", 9}}},
	} {
		before := describe(t, m)
		next := then(m, change(id.Epoch(i+1), step.tail))
		require.Equal(t, before, describe(t, m), "an Image never changes")
		require.Equal(t, step.want, state(t, next, part(1, 0)).Tails)
		require.Empty(t, state(t, next, part(1, 1)).Tails)
		require.Equal(t, step.want, state(t, then(next, change(99, &Tail{"c", 1})), part(1, 0)).Tails, "only a change that applies has a tail")
		m = next
	}
	// Two Images that follow the same one do not share what they add.
	left, right := then(m, change(8, &Tail{"l", 1})), then(m, change(8, &Tail{"r", 1}))
	require.Equal(t, Tail{"l", 1}, state(t, left, part(1, 0)).Tails[3])
	require.Equal(t, Tail{"r", 1}, state(t, right, part(1, 0)).Tails[3])
}

func TestFoldTargets(t *testing.T) {
	m := cluster2()
	require.Equal(t, NoBroker, state(t, m, part(1, 0)).Target)
	m = then(m, TargetsSet{Targets: []PartitionTarget{
		{part(1, 0), 2}, {part(1, 1), 1}, {part(1, 2), 2}, {part(1, 3), 1}, {part(9, 0), 1}, {part(1, 1), -2},
	}})
	require.Equal(t, uint64(3), m.Ignored())
	require.Equal(t, id.Broker(2), state(t, m, part(1, 0)).Target)
	require.Equal(t, id.Broker(1), state(t, m, part(1, 1)).Target)
	require.Equal(t, NoBroker, state(t, m, part(1, 2)).Target, "it leads already")

	require.Equal(t, NoBroker, state(t, then(m, target(part(1, 0), NoBroker)), part(1, 0)).Target)
	require.Equal(t, NoBroker, state(t, then(m, target(part(1, 0), 1)), part(1, 0)).Target)
	moved := then(m, LeadersChanged{Changes: []LeaderChange{{Partition: part(1, 0), Leader: 2, Epoch: 1}}})
	require.Equal(t, NoBroker, state(t, moved, part(1, 0)).Target)
	require.Equal(t, id.Broker(1), state(t, moved, part(1, 1)).Target)
	taken := then(m, LeadershipTaken{From: 2, To: 2})
	require.Equal(t, NoBroker, state(t, taken, part(1, 1)).Target)
}

func TestFoldReplicasChanged(t *testing.T) {
	m := cluster2(target(part(1, 0), 2), ReplicasChanged{Changes: []ReplicasChange{
		{part(1, 0), []id.Broker{2, 3}}, {part(1, 1), nil}, {part(1, 2), []id.Broker{}}, {part(1, 3), []id.Broker{1}},
	}})
	require.Equal(t, uint64(3), m.Ignored())
	require.Equal(t, PartitionState{Leader: 1, Replicas: []id.Broker{2, 3}, Target: 2}, state(t, m, part(1, 0)))
	topic, _ := m.Topic("orders")
	require.Equal(t, int16(2), topic.ReplicationFactor, "that of partition 0")
	topic, _ = then(m, ReplicasChanged{Changes: []ReplicasChange{{part(1, 1), []id.Broker{1, 2, 3}}}}).Topic("orders")
	require.Equal(t, int16(2), topic.ReplicationFactor)
	require.Equal(t, []id.Broker{2}, state(t, m, part(1, 1)).Replicas)
	require.Equal(t, []id.Broker{2}, state(t, m, part(1, 2)).Replicas)
}

func TestFoldLogStartsMoved(t *testing.T) {
	move := func(p id.Partition, epoch id.Epoch, start id.Offset) LogStartsMoved {
		return LogStartsMoved{Moves: []StartMove{{p, epoch, start}}}
	}
	m := cluster2(LogStartsMoved{Moves: []StartMove{{part(1, 0), 0, 10}, {part(1, 1), 1, 10}, {part(1, 3), 0, 10}, {part(2, 0), 0, 10}}})
	require.Equal(t, uint64(3), m.Ignored())
	require.Equal(t, id.Offset(10), state(t, m, part(1, 0)).Start)
	require.Zero(t, state(t, m, part(1, 1)).Start, "of an epoch that is not begun")

	require.Equal(t, id.Offset(10), state(t, then(m, move(part(1, 0), 0, 9)), part(1, 0)).Start, "it never goes back")
	moved := then(m, LeadersChanged{Changes: []LeaderChange{{Partition: part(1, 0), Leader: 2, Epoch: 1}}})
	require.Equal(t, id.Offset(10), state(t, moved, part(1, 0)).Start, "a new leader finds it")
	require.Equal(t, id.Offset(10), state(t, then(moved, move(part(1, 0), 0, 12)), part(1, 0)).Start, "the leader of before is late")
	require.Equal(t, id.Offset(12), state(t, then(moved, move(part(1, 0), 1, 12)), part(1, 0)).Start)
}
