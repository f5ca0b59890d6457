package broker

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/forebaylog/forebay/broker/lag"
	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

const (
	detailedAge     = 10 * time.Second // for which what was gathered is given again
	detailedTimeout = 8 * time.Second  // Prometheus waits 10 s
	defaultDetailed = 10_000
)

// detailed gathers the metrics by topic, partition and group, under the names of the
// exporters that there are for Kafka: kafka_exporter's, and for traffic those of the broker
// itself as its JMX exporter translates them.
//
// Every series comes from one broker, so that sums over all are right: of a partition from
// its leader, of a topic from the leader of its first partition, of a group from its
// coordinator, and what nobody leads from the live broker of the lowest id. Their number is bounded, and
// forebay_detailed_left_out tells what did not fit or is not known. It is safe for concurrent use.
type detailed struct {
	mu     sync.Mutex // held while it gathers, so that whoever comes meanwhile gets the same
	at     time.Time
	last   []*dto.MetricFamily // read only
	named  time.Time           // when stored was read
	stored []string            // names of groups in the table
	ends   map[id.Partition]*lag.History
}

// GatherDetailed returns the metrics by topic, partition and group. What is younger than 10 s is
// returned again. Of other brokers it asks the ends of the partitions that groups of this one
// read, with one request for each; what is not answered is left out. The families are read only.
func (b *Broker) GatherDetailed(ctx context.Context) ([]*dto.MetricFamily, error) {
	d := &b.detailed
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := b.cfg.Now(); d.last != nil && now.Sub(d.at) < detailedAge {
		return d.last, nil
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(caller, detailedTimeout)
	defer cancel()
	g := &detailedGather{b: b, detailed: d, img: b.meta.Image(), now: b.cfg.Now(), left: b.cfg.DetailedLimit, leftOut: map[string]int{}}
	g.cluster()
	g.topics()
	g.groups(ctx)
	for _, what := range []string{"partitions", "topics", "groups", "group_partitions", "end_offsets"} {
		g.gauge(leftOutDesc, float64(g.leftOut[what]), what)
	}
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(g); err != nil {
		return nil, err
	}
	families, err := reg.Gather()
	if err != nil {
		return nil, err
	}
	if err := caller.Err(); err != nil {
		return nil, err // what is left out is so for the caller's sake, and nobody else's
	}
	d.at, d.last = g.now, families
	return families, nil
}

// detailedGather is one gathering.
type detailedGather struct {
	*detailed
	b       *Broker
	img     *metalog.Image
	now     time.Time
	left    int // partitions that may still be told of
	leftOut map[string]int
	metrics []prometheus.Metric
}

// Describe implements prometheus.Collector.
func (g *detailedGather) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range detailedDescs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *detailedGather) Collect(ch chan<- prometheus.Metric) {
	for _, m := range g.metrics {
		ch <- m
	}
}

func (g *detailedGather) gauge(desc *prometheus.Desc, value float64, labels ...string) {
	g.metrics = append(g.metrics, prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...))
}

func (g *detailedGather) counter(desc *prometheus.Desc, value int64, labels ...string) {
	g.metrics = append(g.metrics, prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...))
}

var detailedDescs []*prometheus.Desc

func detailedDesc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc(name, help, labels, nil)
	detailedDescs = append(detailedDescs, d)
	return d
}

var (
	leftOutDesc = detailedDesc("forebay_detailed_left_out", "What /metrics/detailed of this broker does not tell of: beyond --metrics-limit, or not answered by others in time (groups, end_offsets).", "what")
	brokersDesc = detailedDesc("kafka_brokers", "Live brokers, as this one sees them.")
	offlineDesc = detailedDesc("kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions without a live leader; told by the live broker of the lowest id, and 0 by the others.")
	leadersDesc = detailedDesc("kafka_server_replicamanager_leadercount", "Partitions that this broker serves.")

	topicPartitionsDesc = detailedDesc("kafka_topic_partitions", "Partitions of the topic.", "topic")
	messagesInDesc      = detailedDesc("kafka_server_brokertopicmetrics_messagesin_total", "Records appended by this broker since it started.", "topic")
	bytesInDesc         = detailedDesc("kafka_server_brokertopicmetrics_bytesin_total", "Bytes of record batches appended by this broker since it started.", "topic")
	bytesOutDesc        = detailedDesc("kafka_server_brokertopicmetrics_bytesout_total", "Bytes of record batches fetched from this broker since it started.", "topic")

	currentOffsetDesc   = detailedDesc("kafka_topic_partition_current_offset", "High watermark.", "topic", "partition")
	oldestOffsetDesc    = detailedDesc("kafka_topic_partition_oldest_offset", "Log start.", "topic", "partition")
	leaderDesc          = detailedDesc("kafka_topic_partition_leader", "Node id of the leader; -1 for none.", "topic", "partition")
	preferredDesc       = detailedDesc("kafka_topic_partition_leader_is_preferred", "1 if the leader is the first of the replicas.", "topic", "partition")
	replicasDesc        = detailedDesc("kafka_topic_partition_replicas", "Brokers that the partition is meant for; its records are in the object store.", "topic", "partition")
	inSyncDesc          = detailedDesc("kafka_topic_partition_in_sync_replica", "Those of them that live.", "topic", "partition")
	underReplicatedDesc = detailedDesc("kafka_topic_partition_under_replicated_partition", "1 if a broker that the partition is meant for is dead. No record is less safe for it.", "topic", "partition")
)

// speaksForNobody reports whether this broker tells of what nobody leads.
func (g *detailedGather) speaksForNobody() bool {
	return g.b.cluster == nil || g.b.cluster.isPlanner()
}

// cluster tells of the brokers as a whole.
func (g *detailedGather) cluster() {
	offline := 0
	if g.speaksForNobody() {
		offline = leaderless(g.img)
	}
	g.gauge(brokersDesc, float64(len(placement.Live(g.img))))
	g.gauge(offlineDesc, float64(offline))
	g.gauge(leadersDesc, float64(g.b.storage.logs.Len()))
}

// leaderless counts the partitions that no live broker leads.
func leaderless(img *metalog.Image) (n int) {
	for _, t := range img.Topics() {
		for i := range t.Partitions {
			if !placement.IsLive(img, t.Partitions[i].Leader) {
				n++
			}
		}
	}
	return n
}

// topics tells of topics in order of name, until the limit is reached.
func (g *detailedGather) topics() {
	g.b.storage.traffic.keep(func(t id.Topic) bool { _, ok := g.img.TopicByID(t); return ok })
	told := 0
	for _, t := range g.img.Topics() {
		traffic := g.b.storage.traffic.peek(t.ID)
		first := len(t.Partitions) > 0 && g.tells(&t.Partitions[0])
		if !first && traffic == nil && !g.tellsAny(t) {
			continue
		}
		if told++; told > g.b.cfg.DetailedLimit {
			g.leftOut["topics"]++
			continue
		}
		if first {
			g.gauge(topicPartitionsDesc, float64(len(t.Partitions)), t.Name)
		}
		if traffic != nil {
			g.counter(messagesInDesc, traffic.producedRecords.Load(), t.Name)
			g.counter(bytesInDesc, traffic.producedBytes.Load(), t.Name)
			g.counter(bytesOutDesc, traffic.fetchedBytes.Load(), t.Name)
		}
		g.partitions(t)
	}
}

// tells reports whether it is this broker that tells of the partition.
func (g *detailedGather) tells(p *metalog.PartitionState) bool {
	if placement.IsLive(g.img, p.Leader) {
		return p.Leader == g.b.cfg.NodeID
	}
	return g.speaksForNobody()
}

func (g *detailedGather) tellsAny(t *metalog.Topic) bool {
	for i := range t.Partitions {
		if g.tells(&t.Partitions[i]) {
			return true
		}
	}
	return false
}

// partitions tells of the partitions of a topic that this broker leads.
func (g *detailedGather) partitions(t *metalog.Topic) {
	view := replicaView{img: g.img}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if !g.tells(p) {
			continue
		}
		if g.left--; g.left < 0 {
			g.leftOut["partitions"]++
			continue
		}
		labels := []string{t.Name, indexLabel(int32(i))}
		leader := p.Leader
		if !placement.IsLive(g.img, leader) {
			leader = metalog.NoBroker
		}
		all, inSync, _ := view.of(p)
		g.gauge(leaderDesc, float64(leader), labels...)
		g.gauge(preferredDesc, truth(len(p.Replicas) > 0 && p.Replicas[0] == leader), labels...)
		g.gauge(replicasDesc, float64(len(all)), labels...)
		g.gauge(inSyncDesc, float64(len(inSync)), labels...)
		g.gauge(underReplicatedDesc, truth(len(inSync) < len(all)), labels...)
		if log, ok := g.b.storage.logs.Get(id.Partition{Topic: t.ID, Index: int32(i)}); ok && g.b.valid() {
			w := log.Watermarks()
			g.gauge(currentOffsetDesc, float64(w.High), labels...)
			g.gauge(oldestOffsetDesc, float64(w.Start), labels...)
		}
	}
}

// truth is 1 or 0.
func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
