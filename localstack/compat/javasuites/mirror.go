package javasuites

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/rig"
)

// mirrorSuite is MirrorMaker 2 between Forebay and Apache Kafka.
func mirrorSuite(name string, v version) suite.Suite {
	return suite.Suite{
		Name: name,
		About: "Apache Kafka " + v.name + ": MirrorMaker 2, dedicated, from Forebay to Apache Kafka and back at the same time, " +
			"while it and a broker are killed",
		Nodes: []int{1, 3}, Settings: settings, Limit: 10 * time.Minute,
		Prepare: prepareJars(v),
		Run: run(func(ctx context.Context, s *session) {
			m := &mirror{session: s}
			defer m.close()
			m.tryAll(ctx)
		}),
	}
}

// mirror is MirrorMaker and what it mirrors.
type mirror struct {
	*session
	kafka  *rig.Node
	maker  *rig.Process // started last
	config string       // path of its properties
	ways   []*way
}

// way is a direction of mirroring.
type way struct {
	from, to cluster
	topic    string // in from
	group    string
	sent     int // records of topic so far
}

// mirrored is what the topic is called in the cluster that it is mirrored to.
func (w *way) mirrored() string { return w.from.alias + "." + w.topic }

// cluster is one end of a mirror.
type cluster struct {
	alias   string
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
}

func connectTo(alias string, brokers ...string) (cluster, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return cluster{}, fmt.Errorf("make a client of %s: %w", alias, err)
	}
	return cluster{alias: alias, brokers: brokers, client: client, admin: kadm.NewClient(client)}, nil
}

// What is mirrored each way.
const (
	mirrorPartitions = 2
	mirrorChunks     = 6
	mirrorChunk      = 1_000
)

// tryAll tries the cases, which all need that MirrorMaker runs.
func (m *mirror) tryAll(ctx context.Context) {
	if !m.try(ctx, "MirrorMaker runs and is fed, killed on the way", m.feed) {
		m.skip("MirrorMaker did not run", "all that it does")
		return
	}
	for _, w := range m.ways {
		direction := "from " + w.from.alias + " to " + w.to.alias + ": "
		m.try(ctx, direction+"records", func(ctx context.Context) error { return m.requireMirrored(ctx, w) })
		m.try(ctx, direction+"topic configs", func(ctx context.Context) error { return m.topicConfigs(ctx, w) })
		m.try(ctx, direction+"new partitions", func(ctx context.Context) error { return m.newPartitions(ctx, w) })
		m.try(ctx, direction+"offsets of a group", func(ctx context.Context) error { return m.groupOffsets(ctx, w) })
		m.try(ctx, direction+"a member moves over", func(ctx context.Context) error { return m.moveOver(ctx, w) })
		m.try(ctx, direction+"heartbeats", func(ctx context.Context) error { return m.heartbeats(ctx, w) })
	}
}

func (m *mirror) close() {
	if m.maker != nil {
		_ = m.maker.Kill()
	}
	if m.kafka != nil {
		_ = m.kafka.Kill()
	}
	for _, w := range m.ways {
		w.from.client.Close()
	}
}

// feed starts Apache Kafka and MirrorMaker and produces on both sides, a chunk at a time.
// MirrorMaker and a broker are killed on the way.
func (m *mirror) feed(ctx context.Context) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	for chunk := range mirrorChunks {
		for _, w := range m.ways {
			if err := w.produce(ctx, mirrorChunk); err != nil {
				return err
			}
		}
		// What is produced next is for the time after the kill: wait until some of what was has arrived.
		err := await(ctx, func(ctx context.Context) error { return m.requireArriving(ctx) })
		switch {
		case err != nil:
			return err
		case chunk == mirrorChunks/3:
			fmt.Fprintln(m.Log, "killing MirrorMaker")
			err = errors.Join(m.maker.Kill(), m.startMaker(ctx))
		case chunk == mirrorChunks*2/3:
			b := m.Cluster.Brokers()[0]
			fmt.Fprintln(m.Log, "killing", b.Name)
			err = errors.Join(b.Kill(), b.Start(context.WithoutCancel(ctx)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// begin starts Apache Kafka and MirrorMaker, with a topic on each side.
func (m *mirror) begin(ctx context.Context) (err error) {
	m.kafka, err = rig.StartKafka(context.WithoutCancel(ctx), rig.KafkaConfig{
		Java: m.Java, Dir: filepath.Join(m.Dir, "kafka"), Set: map[string]string{"group.initial.rebalance.delay.ms": "0"},
	})
	if err != nil {
		return err
	}
	forebay, err := connectTo("forebay", m.Brokers...)
	if err != nil {
		return err
	}
	kafka, err := connectTo("kafka", m.kafka.Addr)
	if err != nil {
		return err
	}
	m.ways = []*way{
		{from: forebay, to: kafka, topic: "mirror-forebay", group: "mirror-readers-forebay"},
		{from: kafka, to: forebay, topic: "mirror-kafka", group: "mirror-readers-kafka"},
	}
	for _, w := range m.ways {
		retention := "86400123"
		_, err := w.from.admin.CreateTopic(ctx, mirrorPartitions, 1, map[string]*string{"retention.ms": &retention}, w.topic)
		if err != nil {
			return fmt.Errorf("make topic %s: %w", w.topic, err)
		}
	}
	m.config, err = m.properties("mirror.properties",
		"clusters=forebay,kafka", "forebay.bootstrap.servers="+m.bootstrap(), "kafka.bootstrap.servers="+m.kafka.Addr,
		"forebay->kafka.enabled=true", "kafka->forebay.enabled=true", "topics=mirror-.*", "groups=mirror-.*", "tasks.max=1",
		"replication.factor=1", "checkpoints.topic.replication.factor=1", "heartbeats.topic.replication.factor=1",
		"offset-syncs.topic.replication.factor=1", "config.storage.replication.factor=1", "offset.storage.replication.factor=1",
		"status.storage.replication.factor=1", "offset.flush.interval.ms=500", "scheduled.rebalance.max.delay.ms=1000",
		"refresh.topics.interval.seconds=1", "refresh.groups.interval.seconds=1", "sync.topic.configs.interval.seconds=1",
		"emit.heartbeats.interval.seconds=1", "emit.checkpoints.interval.seconds=1", "sync.topic.acls.enabled=false",
		"sync.group.offsets.enabled=true", "sync.group.offsets.interval.seconds=1", "offset.lag.max=0", "plugin.discovery=service_load")
	if err != nil {
		return err
	}
	return m.startMaker(ctx)
}

func (m *mirror) startMaker(ctx context.Context) (err error) {
	m.maker, err = m.start("mirrormaker", nil, m.java.Tool(context.WithoutCancel(ctx), rig.MirrorMaker, m.config))
	return err
}

// produce adds n records whose values are numbers.
func (w *way) produce(ctx context.Context, n int) error {
	var records []*kgo.Record
	for range n {
		records = append(records, &kgo.Record{Topic: w.topic, Partition: int32(w.sent % mirrorPartitions), Value: []byte(strconv.Itoa(w.sent))})
		w.sent++
	}
	if err := w.from.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("produce to %s of %s: %w", w.topic, w.from.alias, err)
	}
	return nil
}

// requireArriving checks that at least half of what was produced is mirrored.
func (m *mirror) requireArriving(ctx context.Context) error {
	if !m.maker.Running() {
		return errors.New("MirrorMaker has ended by itself")
	}
	for _, w := range m.ways {
		ends, err := w.to.admin.ListEndOffsets(ctx, w.mirrored())
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			return fmt.Errorf("look at %s of %s: %w", w.mirrored(), w.to.alias, err)
		}
		arrived := 0
		ends.Each(func(o kadm.ListedOffset) { arrived += int(o.Offset) })
		if arrived < w.sent/2 {
			return fmt.Errorf("%d of %d records of %s have arrived in %s", arrived, w.sent, w.topic, w.to.alias)
		}
	}
	return nil
}

// requireMirrored checks that all records arrive, each at least once and in its partition.
func (m *mirror) requireMirrored(ctx context.Context, w *way) error {
	want := counted{}
	for i := range w.sent {
		want[fmt.Sprintf("%d in partition %d", i, i%mirrorPartitions)] = 1
	}
	return await(ctx, func(ctx context.Context) error {
		records, err := m.read(ctx, w.to.brokers, w.mirrored())
		if err != nil {
			return err
		}
		have := counted{}
		for _, r := range records {
			have[fmt.Sprintf("%s in partition %d", r.Value, r.Partition)]++
		}
		return have.compare(want, true)
	})
}
