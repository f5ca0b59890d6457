package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
)

func TestCluster(t *testing.T) {
	r := newRig(t, topic("t", 3), metalog.BrokerFenced{ID: 1, Session: leader})
	c := ask[Cluster](r, "GET", "/v1/cluster", "")
	require.Equal(t, r.image().ClusterID(), c.ID)
	require.Equal(t, []int{3, 2, 1, 3, 3, 1}, []int{c.Brokers, c.Alive, c.Topics, c.Partitions, c.Leaderless, c.Streams})
	require.Equal(t, int16(2), c.Features["transaction.version"])
	require.Equal(t, r.now, c.AsOf)
}

// TestNoCluster: an API does not make the cluster that it is to administer.
func TestNoCluster(t *testing.T) {
	r := newRig(t)
	empty := newRig(t)
	empty.api.cfg.Metadata = r.api.cfg.Offsets // an empty table
	p := empty.refused(http.StatusServiceUnavailable, "", "GET", "/v1/cluster", "")
	require.Contains(t, p.Detail, "start a broker")
}

func TestListTopics(t *testing.T) {
	var records []metalog.Record
	for i := range 25 {
		records = append(records, topic(fmt.Sprintf("a-%02d", i), 1))
	}
	r := newRig(t, append(records, topic("b", 2), topic("__consumer_offsets", 3))...)
	var names []string
	for token := ""; ; {
		page := ask[Topics](r, "GET", "/v1/topics?name_prefix=a-&page_size=10&page_token="+token, "")
		for _, topic := range page.Topics {
			names = append(names, topic.Name)
		}
		if token = page.Next; token == "" {
			break
		}
		if len(names) == 10 {
			require.Equal(t, 25, page.Total)
			r.append(topic("a-000", 1)) // on the page before
		}
	}
	require.Len(t, names, 25)
	require.Equal(t, []string{"a-00", "a-24"}, []string{names[0], names[24]})
	require.Equal(t, 27, ask[Topics](r, "GET", "/v1/topics?page_size=1", "").Total)
	require.Equal(t, 28, ask[Topics](r, "GET", "/v1/topics?internal=true", "").Total)
	r.refused(http.StatusBadRequest, "", "GET", "/v1/topics?page_token=%21", "")
	r.refused(http.StatusUnprocessableEntity, "", "GET", "/v1/topics?page_size=0", "")
	r.refused(http.StatusUnprocessableEntity, "", "GET", "/v1/topics?pagesize=3", "")
	require.Equal(t, 2, ask[Topic](r, "GET", "/v1/topics/b", "").Partitions)
	r.refused(http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION", "GET", "/v1/topics/c", "")
}

// newLog is a rig with a topic: of partition 0 [0,30) is sealed and [30,40) in the stream, and it starts at 10.
func newLog(t *testing.T) (*rig, id.Topic) {
	created := topic("log", 2)
	p := id.Partition{Topic: created.ID}
	r := newRig(t, created, metalog.LogStartsMoved{Moves: []metalog.StartMove{{Partition: p, Start: 10}}})
	r.seal(p, 0, 20)
	r.seal(p, 20, 30)
	r.commit(1, p, 30, 40)
	return r, created.ID
}

func TestPartitions(t *testing.T) {
	r, _ := newLog(t)
	all := ask[Partitions](r, "GET", "/v1/topics/log/partitions", "")
	require.Len(t, all.Partitions, 2)
	p := all.Partitions[0]
	require.Equal(t, []id.Offset{10, 30, 40}, []id.Offset{p.Start, p.Sealed, p.End})
	require.Equal(t, []id.Broker{1, 2}, p.Replicas)
	require.Equal(t, id.Broker(1), p.Leader)
	require.Equal(t, 2, p.Segments)
	require.Positive(t, p.Bytes.Packs)
	require.InDelta(t, p.Bytes.Packs/3, p.Bytes.WAL, 10)
	require.Equal(t, p, ask[Partition](r, "GET", "/v1/topics/log/partitions/0", ""))
	first := ask[Partitions](r, "GET", "/v1/topics/log/partitions?page_size=1", "")
	second := ask[Partitions](r, "GET", "/v1/topics/log/partitions?page_size=1&page_token="+first.Next, "")
	require.Equal(t, int32(1), second.Partitions[0].Partition)
	require.Empty(t, second.Next)
	r.refused(http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION", "GET", "/v1/topics/log/partitions/2", "")

	s := ask[Storage](r, "GET", "/v1/storage", "")
	require.Equal(t, p.Bytes, s.Total.Bytes)
	require.Equal(t, []string{"log"}, []string{s.Topics[0].Topic})
}

func TestBrokers(t *testing.T) {
	r := newRig(t, topic("t", 3), metalog.TargetsSet{})
	r.alive(1, leader)
	all := ask[Brokers](r, "GET", "/v1/brokers", "").Brokers
	require.Equal(t, []bool{true, false, false}, []bool{all[0].Alive, all[1].Alive, all[2].Alive})
	require.Equal(t, []int{3, 3, 0}, []int{all[0].Leads, all[0].Replicas, all[1].Leads})
	require.Equal(t, "a", all[0].Rack)
	require.Equal(t, int32(9092), all[0].Endpoints[0].Port)
	observed := ask[Broker](r, "GET", "/v1/brokers/1?observe=true", "")
	require.True(t, observed.Alive)
	require.True(t, *observed.Session.Renewed)
	require.Len(t, ask[Sessions](r, "GET", "/v1/sessions", "").Sessions, 1)
	r.refused(http.StatusNotFound, "BROKER_ID_NOT_REGISTERED", "GET", "/v1/brokers/9", "")
}

func TestLeaders(t *testing.T) {
	created := topic("t", 12)
	r := newRig(t, created, metalog.TargetsSet{Targets: []metalog.PartitionTarget{{Partition: id.Partition{Topic: created.ID, Index: 11}, Target: 2}}})
	first := ask[Leaders](r, "GET", "/v1/leaders?broker=1&page_size=7", "")
	second := ask[Leaders](r, "GET", "/v1/leaders?broker=1&page_size=7&page_token="+first.Next, "")
	require.Equal(t, []int{7, 5}, []int{len(first.Partitions), len(second.Partitions)})
	require.Equal(t, int32(7), second.Partitions[0].Partition)
	require.Empty(t, ask[Leaders](r, "GET", "/v1/leaders?broker=2", "").Partitions)
	moves := ask[Leaders](r, "GET", "/v1/moves", "").Partitions
	require.Len(t, moves, 1)
	require.Equal(t, id.Broker(2), moves[0].Target)
}

func TestGroups(t *testing.T) {
	r, topic := newLog(t)
	shards := metalog.TopicCreated{Name: "__consumer_offsets", ID: id.NewTopic(), ReplicationFactor: 1}
	for range 4 {
		shards.Partitions = append(shards.Partitions, metalog.Assignment{Leader: 2, Replicas: []id.Broker{2}})
	}
	r.append(shards)
	table := offsets.Open(r.cfg.Offsets, offsets.Sole)
	for name, at := range map[string]id.Offset{"behind": 25, "done": 40, "lost": 4, "team/a": 35} {
		require.NoError(t, table.Commit(t.Context(), name, 0, []offsets.Entry{
			{Topic: topic, TopicName: "log", Offset: at, LeaderEpoch: -1, CommitTime: r.now},
			{Topic: id.NewTopic(), TopicName: "gone", Offset: 1, LeaderEpoch: -1},
		}))
	}
	state := group.Snapshot{Generation: 3, ProtocolType: "consumer", Protocol: "range", Leader: "m", Since: r.now, Members: []group.MemberSnapshot{{
		ID: "m", ClientID: "c", ClientHost: "/127.0.0.1", Assignment: []byte("\x00\x01\x00\x00\x00\x01\x00\x03log\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff"),
	}}}
	require.NoError(t, table.StoreState(t.Context(), "behind", 0, state.AppendTo(nil)))

	list := ask[Groups](r, "GET", "/v1/groups", "")
	require.Equal(t, 4, list.Total)
	require.Equal(t, []string{"behind", "done", "lost", "team/a"}, []string{list.Groups[0].Name, list.Groups[1].Name, list.Groups[2].Name, list.Groups[3].Name})
	require.Equal(t, []string{"Stable", "Empty"}, []string{list.Groups[0].State, list.Groups[1].State})
	require.Len(t, ask[Groups](r, "GET", "/v1/groups?state=Stable", "").Groups, 1)
	d := ask[GroupDetails](r, "GET", "/v1/groups/behind", "")
	require.Equal(t, int32(3), d.Generation)
	require.Equal(t, id.Broker(2), d.Coordinator)
	require.Equal(t, map[string][]int{"log": {0, 1}}, d.List[0].Assignment)

	lag := func(path string) GroupOffset {
		o := ask[GroupOffsets](r, "GET", "/v1/groups/"+path+"/offsets", "")
		require.Len(t, o.Offsets, 1, "what is gone does not count")
		require.Equal(t, o.Lag, o.Offsets[0].Lag)
		return o.Offsets[0]
	}
	behind := lag("behind")
	require.Equal(t, []int64{15, 0}, []int64{behind.Lag, behind.Lost})
	require.InDelta(t, 50, behind.Retention, 0.01)
	require.InDelta(t, time.Hour.Milliseconds()-25_000, *behind.Behind, 10_000)
	require.Zero(t, *lag("done").Behind)
	require.Equal(t, []int64{30, 6}, []int64{lag("lost").Lag, lag("lost").Lost})
	require.InDelta(t, 120, lag("lost").Retention, 0.01)
	require.Equal(t, int64(5), lag("team%2Fa").Lag)
	r.refused(http.StatusNotFound, "GROUP_ID_NOT_FOUND", "GET", "/v1/groups/nobody", "")
}

// TestTenThousandTopics: a page of all of them takes less than 100 ms, and here, whatever else the machine does, no
// more than several times that.
func TestTenThousandTopics(t *testing.T) {
	count := 10_000
	if raceEnabled {
		count = 1000
	}
	var records []metalog.Record
	for i := range count {
		records = append(records, topic(fmt.Sprintf("topic-%05d", i), 1))
	}
	r := newRig(t)
	for len(records) > 0 {
		r.append(records[:1000]...)
		records = records[1000:]
	}
	r.send("GET", "/v1/cluster", "") // opens the log
	best := time.Hour
	for range 5 {
		began := time.Now()
		w := r.send("GET", "/v1/topics?page_size=10000", "")
		best = min(best, time.Since(began))
		var page Topics
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &page))
		require.Len(t, page.Topics, count)
	}
	t.Logf("a page of 10,000 topics takes %v", best)
	if !raceEnabled {
		require.Less(t, best, 20*100*time.Millisecond)
	}
}
