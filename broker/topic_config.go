package broker

import (
	"maps"
	"strconv"
	"time"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/batch"
)

// topicConfig is what counts for a topic. It is shared: read only.
type topicConfig struct{ *config.Effective }

// rules are the part of the config that a producer's batches must meet.
func (t topicConfig) rules(now time.Time) batch.Rules {
	r := batch.Rules{
		Compacted: t.Compact, MaxBytes: max(int(t.MaxMessageBytes), 1), Now: now,
		BeforeMaxMs: limitMs(t.TimestampBefore), AfterMaxMs: limitMs(t.TimestampAfter),
	}
	if t.LogAppendTime {
		r.TimestampType = batch.LogAppendTime
	}
	return r
}

// limitMs is d in milliseconds, at least 1; 0 for no limit.
func limitMs(d time.Duration) int64 {
	if d == config.Unlimited {
		return 0
	}
	return max(d.Milliseconds(), 1)
}

// topicConfigs caches what counts for each topic, for one Image and its broker configs.
type topicConfigs struct {
	version uint64 // of the Image
	byTopic map[*metalog.Topic]topicConfig
}

// topicConfig returns what counts for t, as of the newest Image.
func (b *Broker) topicConfig(t *metalog.Topic) topicConfig {
	img := b.meta.Image()
	b.configMu.RLock()
	found, ok := b.configs.byTopic[t]
	ok = ok && b.configs.version == img.Version()
	b.configMu.RUnlock()
	if ok {
		return found
	}
	made := topicConfig{config.Resolve(b.topicLayers(img, t.Configs))}
	b.configMu.Lock()
	defer b.configMu.Unlock()
	if b.configs.version != img.Version() || b.configs.byTopic == nil {
		b.configs = topicConfigs{version: img.Version(), byTopic: make(map[*metalog.Topic]topicConfig)}
	}
	b.configs.byTopic[t] = made
	return made
}

// self is this broker as a resource with configs.
func (b *Broker) self() metalog.Resource {
	return metalog.Resource{Type: metalog.ResourceBroker, Name: b.cfg.NodeID.String()}
}

// staticConfigs are the broker configs that cfg stands for, by Kafka's names.
func staticConfigs(cfg Config, listeners []*listener) map[string]string {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	set := map[string]string{
		"node.id": cfg.NodeID.String(), "broker.id": cfg.NodeID.String(),
		"num.partitions":                   number(int64(cfg.Defaults.NumPartitions)),
		"default.replication.factor":       number(int64(cfg.Defaults.ReplicationFactor)),
		"message.max.bytes":                number(int64(cfg.Defaults.MessageMaxBytes)),
		"auto.create.topics.enable":        strconv.FormatBool(!cfg.Defaults.NoAutoCreateTopics),
		"socket.request.max.bytes":         number(int64(cfg.Limits.MaxRequestBytes)),
		"max.connections":                  number(int64(cfg.Limits.MaxConnections)),
		"connections.max.idle.ms":          number(cfg.Limits.ConnectionIdle.Milliseconds()),
		"group.initial.rebalance.delay.ms": number(cfg.Groups.InitialRebalanceDelay.Milliseconds()),
		"group.min.session.timeout.ms":     number(cfg.Groups.MinSessionTimeout.Milliseconds()),
		"group.max.session.timeout.ms":     number(cfg.Groups.MaxSessionTimeout.Milliseconds()),
		"offset.metadata.max.bytes":        number(int64(cfg.Groups.OffsetMetadataMax)),
		"offsets.retention.minutes":        number(int64(cfg.Groups.OffsetsRetention.Minutes())),
		admin.DurabilityConfig:             cfg.durability(),
		"offsets.topic.num.partitions":     number(int64(cfg.Groups.OffsetsTopicPartitions)),
		"offsets.topic.replication.factor": number(int64(cfg.Groups.OffsetsTopicReplicas)),

		"producer.id.expiration.ms":                                   number(cfg.Storage.ProducerExpiry.Milliseconds()),
		"transaction.max.timeout.ms":                                  number(cfg.Transactions.MaxTimeout.Milliseconds()),
		"transactional.id.expiration.ms":                              number(cfg.Transactions.IDExpiration.Milliseconds()),
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": number(cfg.Transactions.AbortInterval.Milliseconds()),
		"transaction.remove.expired.transaction.cleanup.interval.ms":  number(cfg.Transactions.ExpireInterval.Milliseconds()),
		"transaction.state.log.num.partitions":                        number(int64(cfg.Transactions.TopicPartitions)),
		"transaction.state.log.replication.factor":                    number(int64(cfg.Transactions.TopicReplicas)),
	}
	maps.Copy(set, cfg.Lifecycle.configs())
	if cfg.Storage.CacheBytes > 0 {
		set[config.CacheBytes] = number(max(cfg.Storage.CacheBytes, 4<<20))
	}
	if cfg.Storage.HotBytes > 0 {
		set[config.HotBytes] = number(cfg.Storage.HotBytes)
	}
	if cfg.Rack != "" {
		set["broker.rack"] = cfg.Rack
	}
	if cfg.DataDir != "" {
		set["log.dirs"] = cfg.DataDir
	}
	if cfg.Groups.MaxSize > 0 {
		set["group.max.size"] = number(int64(cfg.Groups.MaxSize))
	}
	set["listeners"], set["advertised.listeners"] = listenerConfigs(listeners)
	maps.Copy(set, cfg.Defaults.Configs)
	for name, value := range set { // what is no news is no setting
		if d, ok := config.Broker(name); ok && !d.NoValue && d.Default == value {
			delete(set, name)
		}
	}
	return set
}

// listenerConfigs are the values of listeners and advertised.listeners.
func listenerConfigs(listeners []*listener) (bound, advertised string) {
	for i, l := range listeners {
		sep := ","
		if i == 0 {
			sep = ""
		}
		bound += sep + l.Name + "://" + l.ln.Addr().String()
		advertised += sep + l.Name + "://" + l.advertised()
	}
	return bound, advertised
}
