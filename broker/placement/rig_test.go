package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

func topicID(n int) id.Topic { return id.Topic{0: 1, 14: byte(n >> 8), 15: byte(n)} }

func at(index int) id.Partition { return id.Partition{Topic: topicID(1), Index: int32(index)} }

// cluster reads brokers and partitions of one topic as the tests write them:
//
//	brokers     "1 2a 3b!"         ids with a rack, fenced ones with "!"
//	partitions  "1:1,2,3 -:2 1>2:1"  leader, target and replicas of each
func cluster(t require.TestingT, brokers, partitions string) *metalog.Image {
	records := registered(t, brokers)
	created := metalog.TopicCreated{Name: "t", ID: topicID(1)}
	var targets metalog.TargetsSet
	for i, p := range strings.Fields(partitions) {
		who, replicas, _ := strings.Cut(p, ":")
		leader, target, moves := strings.Cut(who, ">")
		created.Partitions = append(created.Partitions, metalog.Assignment{Leader: node(t, leader), Replicas: nodes(t, replicas)})
		if moves {
			targets.Targets = append(targets.Targets, metalog.PartitionTarget{Partition: at(i), Target: node(t, target)})
		}
	}
	return metalog.NewImage("c", append(records, created, targets)...)
}

func registered(t require.TestingT, brokers string) []metalog.Record {
	var records []metalog.Record
	for _, b := range strings.Fields(brokers) {
		name, fenced := strings.CutSuffix(b, "!")
		number := strings.TrimRight(name, "abcdefgh")
		r := metalog.BrokerRegistered{ID: node(t, number), Incarnation: id.Session(b), Rack: strings.TrimPrefix(name, number)}
		records = append(records, r)
		if fenced {
			records = append(records, metalog.BrokerFenced{ID: r.ID, Session: r.Incarnation})
		}
	}
	return records
}

func node(t require.TestingT, text string) id.Broker {
	if text == "-" {
		return metalog.NoBroker
	}
	var n id.Broker
	_, err := fmt.Sscan(text, &n)
	require.NoError(t, err)
	return n
}

func nodes(t require.TestingT, text string) []id.Broker {
	var list []id.Broker
	for _, n := range strings.Split(text, ",") {
		list = append(list, node(t, n))
	}
	return list
}

// show writes partitions as cluster reads them.
func show(img *metalog.Image) string {
	var all []string
	for _, p := range partitions(img) {
		text := name(p.Leader)
		if p.Target != metalog.NoBroker {
			text += ">" + name(p.Target)
		}
		var replicas []string
		for _, r := range p.Replicas {
			replicas = append(replicas, name(r))
		}
		all = append(all, text+":"+strings.Join(replicas, ","))
	}
	return strings.Join(all, " ")
}

func name(node id.Broker) string {
	if node == metalog.NoBroker {
		return "-"
	}
	return node.String()
}

// with returns the Image after records, all of which must apply.
func with(t require.TestingT, img *metalog.Image, records ...metalog.Record) *metalog.Image {
	next := metalog.NewImage("c", append(history(img), records...)...)
	require.Zero(t, next.Ignored())
	return next
}

// history returns records that make an Image like img.
func history(img *metalog.Image) []metalog.Record {
	var records []metalog.Record
	for _, b := range img.Brokers() {
		records = append(records, metalog.BrokerRegistered{ID: b.ID, Incarnation: b.Incarnation, Rack: b.Rack})
		if b.Fenced {
			records = append(records, metalog.BrokerFenced{ID: b.ID, Session: b.Incarnation})
		}
	}
	var targets metalog.TargetsSet
	var epochs metalog.LeadersChanged
	for _, topic := range img.Topics() {
		created := metalog.TopicCreated{Name: topic.Name, ID: topic.ID}
		for i, p := range topic.Partitions {
			created.Partitions = append(created.Partitions, metalog.Assignment{Leader: p.Leader, Replicas: p.Replicas})
			at := id.Partition{Topic: topic.ID, Index: int32(i)}
			targets.Targets = append(targets.Targets, metalog.PartitionTarget{Partition: at, Target: p.Target})
			for e := range p.Epoch {
				epochs.Changes = append(epochs.Changes, metalog.LeaderChange{Partition: at, Leader: p.Leader, Epoch: e + 1})
			}
		}
		records = append(records, created)
	}
	return append(records, epochs, targets)
}

// moved returns the Image in which all targets are reached.
func moved(t require.TestingT, img *metalog.Image) *metalog.Image {
	var changes metalog.LeadersChanged
	for at, p := range partitions(img) {
		if p.Target != metalog.NoBroker {
			changes.Changes = append(changes.Changes, metalog.LeaderChange{Partition: at, Leader: p.Target, Epoch: p.Epoch + 1})
		}
	}
	return with(t, img, changes)
}

// loadsOf counts what each live broker leads.
func loadsOf(img *metalog.Image) map[id.Broker]int {
	loads := map[id.Broker]int{}
	for _, b := range Live(img) {
		loads[b.ID] = 0
	}
	for _, p := range partitions(img) {
		if IsLive(img, p.Leader) {
			loads[p.Leader]++
		}
	}
	return loads
}

func spread(loads map[id.Broker]int) int {
	low, high := 1<<30, 0
	for _, n := range loads {
		low, high = min(low, n), max(high, n)
	}
	return high - low
}

// drawCluster draws up to five brokers, some fenced, and partitions that they and
// others hold.
func drawCluster(rt *rapid.T, most int) *metalog.Image {
	n := rapid.IntRange(1, 5).Draw(rt, "brokers")
	var brokers []string
	for i := range n {
		brokers = append(brokers, fmt.Sprint(i+1)+rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(rt, "rack")+rapid.SampledFrom([]string{"", "", "!"}).Draw(rt, "fenced"))
	}
	var parts []string
	for range rapid.IntRange(1, most).Draw(rt, "partitions") {
		ids := rapid.Permutation([]string{"1", "2", "3", "4", "5"}).Draw(rt, "replicas")[:rapid.IntRange(1, 3).Draw(rt, "rf")]
		leader := rapid.SampledFrom([]string{ids[0], ids[0], ids[len(ids)-1], "1", "-"}).Draw(rt, "leader")
		if target := rapid.SampledFrom([]string{"", "", "", "2"}).Draw(rt, "target"); target != "" {
			leader += ">" + target
		}
		parts = append(parts, leader+":"+strings.Join(ids, ","))
	}
	return cluster(rt, strings.Join(brokers, " "), strings.Join(parts, " "))
}

func TestRig(t *testing.T) {
	const text = "1:1,2,3 -:2 1>2:1"
	img := cluster(t, "1 2a 3b!", text)
	require.Equal(t, text, show(img))
	require.Equal(t, text, show(with(t, img)))
	require.Equal(t, "1:1,2,3 -:2 2:1", show(moved(t, img)))
	require.Equal(t, map[id.Broker]int{1: 2, 2: 0}, loadsOf(img))
	require.False(t, IsLive(img, 3))
	require.False(t, IsLive(img, 4))
	require.Len(t, Live(img), 2)
	require.True(t, slices.IsSortedFunc(img.Brokers(), func(a, b *metalog.Broker) int { return int(a.ID - b.ID) }))
}
