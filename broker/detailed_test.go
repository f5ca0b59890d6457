package broker

import (
	"context"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/tiering/batch"
)

// detail gathers the detailed metrics anew: values by name and labels, as name{value,value}.
func detail(t *testing.T, b *Broker) map[string]float64 {
	t.Helper()
	b.detailed.mu.Lock()
	b.detailed.last = nil
	b.detailed.mu.Unlock()
	families, err := b.GatherDetailed(t.Context())
	require.NoError(t, err)
	return seriesOf(families)
}

func seriesOf(families []*dto.MetricFamily) map[string]float64 {
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			values[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

// The lag of a group is told by its coordinator, also of partitions that others lead, and no
// series comes from two brokers.
func TestDetailedOfACluster(t *testing.T) {
	c := newTestCluster(t)
	members := []*member{c.start(1), c.start(2)}
	c.createTopic("t", 4, 2)
	cl := c.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range 100 {
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Partition: int32(i % 4), Value: []byte("v")}).FirstErr())
	}
	adm := kadm.NewClient(cl)
	commit := kadm.Offsets{}
	for p := range int32(4) {
		commit.AddOffset("t", p, 5*int64(p), -1)
	}
	require.NoError(t, adm.CommitAllOffsets(t.Context(), "g", commit))

	all := map[string]float64{}
	for _, m := range members {
		for name, v := range detail(t, m.Broker) {
			if strings.HasPrefix(name, "kafka_consumergroup") || strings.HasPrefix(name, "kafka_topic") {
				require.NotContains(t, all, name)
			}
			all[name] += v
		}
	}
	coordinator, _ := c.coordinatorOf("g")
	for p := range 4 {
		labels := "{g," + decimal(int32(p)) + ",t}" // consumergroup, partition, topic: in order of label
		require.Equal(t, float64(5*p), all["kafka_consumergroup_current_offset"+labels])
		require.Equal(t, float64(25-5*p), all["kafka_consumergroup_lag"+labels])
		require.Contains(t, all, "kafka_consumergroup_lag_seconds"+labels)
		partition := "{" + decimal(int32(p)) + ",t}"
		require.Equal(t, 25.0, all["kafka_topic_partition_current_offset"+partition])
		require.Contains(t, all, "kafka_topic_partition_oldest_offset"+partition)
		require.Equal(t, float64(c.leader("t", int32(p))), all["kafka_topic_partition_leader"+partition])
		require.Equal(t, 2.0, all["kafka_topic_partition_in_sync_replica"+partition])
	}
	require.Equal(t, 70.0, all["kafka_consumergroup_lag_sum{g,t}"])
	require.Equal(t, 4.0, all["kafka_topic_partitions{t}"])
	require.Equal(t, 100.0, all["kafka_server_brokertopicmetrics_messagesin_total{t}"])
	require.Equal(t, 4.0, all["kafka_brokers{}"], "two as each of two sees them")
	require.Equal(t, 0.0, all["kafka_consumergroup_members{g}"])

	// A leader that does not answer takes its partitions' lag with it, and nothing else.
	other := members[0]
	if other == coordinator {
		other = members[1]
	}
	away := func(kv.Op) kv.Fault { return kv.FaultFail }
	other.table.Store(&away)
	eventually(t, "an invalid session", func() bool { return !other.valid() })
	got := detail(t, coordinator.Broker)
	require.GreaterOrEqual(t, got["forebay_detailed_left_out{end_offsets}"], 1.0)
	require.Contains(t, got, "kafka_consumergroup_current_offset{g,0,t}")
	other.table.Store(nil)
}

// What was gathered is given again for a while, and is bounded.
func TestDetailedIsBounded(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.DetailedLimit = 3 })
	adm := n.admin()
	_, err := adm.CreateTopics(t.Context(), 2, 1, nil, "a", "b", "c", "d")
	require.NoError(t, err)
	n.mustProduce("a", 0, batchOfNow(batch.None, 7))
	for _, g := range []string{"g1", "g2", "g3", "g4"} {
		require.NoError(t, adm.CommitAllOffsets(context.Background(), g, kadm.OffsetsList{{Topic: "a", Partition: 0, At: 2}, {Topic: "b", Partition: 0, At: 0}}.Offsets()))
	}
	got := detail(t, n.Broker)
	require.Equal(t, 1.0, got["forebay_detailed_left_out{groups}"])
	require.Equal(t, 4.0, got["forebay_detailed_left_out{group_partitions}"], "two groups of two")
	require.Equal(t, 5.0, got["kafka_consumergroup_lag{g1,0,a}"])
	require.NotContains(t, got, "kafka_consumergroup_lag{g2,0,a}")
	require.Contains(t, got, "kafka_consumergroup_members{g3}")
	require.Greater(t, got["forebay_detailed_left_out{partitions}"], 4.0, "and those of __consumer_offsets")
	require.Positive(t, got["forebay_detailed_left_out{topics}"])
	count := 0
	for name := range got {
		if strings.HasPrefix(name, "kafka_topic_partition_leader{") {
			count++
		}
	}
	require.Equal(t, 3, count)

	n.mustProduce("a", 0, batchOfNow(batch.None, 7))
	again, err := n.GatherDetailed(t.Context())
	require.NoError(t, err)
	require.Equal(t, got, seriesOf(again))
	require.Equal(t, 12.0, detail(t, n.Broker)["kafka_consumergroup_lag{g1,0,a}"])

	_, err = adm.DeleteTopics(t.Context(), "a")
	require.NoError(t, err)
	got = detail(t, n.Broker)
	require.NotContains(t, got, "kafka_server_brokertopicmetrics_messagesin_total{a}")
	require.NotContains(t, got, "kafka_consumergroup_lag{g1,0,a}")
}

// A fetch is counted by topic, whether it names topics or their ids.
func TestTrafficByTopic(t *testing.T) {
	n := startNode(t)
	_, err := n.admin().CreateTopics(t.Context(), 1, 1, nil, "a")
	require.NoError(t, err)
	n.mustProduce("a", 0, batchOfNow(batch.None, 3))
	for _, version := range []int16{12, 13} {
		n.fetch(n.fetchRequest(version, want{topic: "a"}))
	}
	counts := n.storage.traffic.peek(n.topicID("a"))
	require.EqualValues(t, 3, counts.producedRecords.Load())
	require.EqualValues(t, 6, counts.fetchedRecords.Load())
	require.Equal(t, 2*counts.producedBytes.Load(), counts.fetchedBytes.Load())
	require.EqualValues(t, 6, n.storage.traffic.fetchedRecords.Load())
}
