package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/broker/config"
)

// brokerSettings are the settings that --set takes, under Kafka's names.
var brokerSettings = map[string]func(cfg *broker.Config, value string) error{
	"auto.create.topics.enable": func(cfg *broker.Config, value string) error {
		on, err := strconv.ParseBool(value)
		cfg.Defaults.NoAutoCreateTopics = !on
		return err
	},
	"num.partitions":             setInt(func(cfg *broker.Config) *int32 { return &cfg.Defaults.NumPartitions }),
	"default.replication.factor": setInt(func(cfg *broker.Config) *int16 { return &cfg.Defaults.ReplicationFactor }),
	"message.max.bytes":          setInt(func(cfg *broker.Config) *int32 { return &cfg.Defaults.MessageMaxBytes }),
	"socket.request.max.bytes":   setInt(func(cfg *broker.Config) *int32 { return &cfg.Limits.MaxRequestBytes }),
	"max.connections":            setInt(func(cfg *broker.Config) *int { return &cfg.Limits.MaxConnections }),
	"connections.max.idle.ms":    setMillis(func(cfg *broker.Config) *time.Duration { return &cfg.Limits.ConnectionIdle }),
	"group.initial.rebalance.delay.ms": setMillis(func(cfg *broker.Config) *time.Duration {
		return &cfg.Groups.InitialRebalanceDelay
	}),
	"group.min.session.timeout.ms":     setMillis(func(cfg *broker.Config) *time.Duration { return &cfg.Groups.MinSessionTimeout }),
	"group.max.session.timeout.ms":     setMillis(func(cfg *broker.Config) *time.Duration { return &cfg.Groups.MaxSessionTimeout }),
	"group.max.size":                   setInt(func(cfg *broker.Config) *int { return &cfg.Groups.MaxSize }),
	"offset.metadata.max.bytes":        setInt(func(cfg *broker.Config) *int { return &cfg.Groups.OffsetMetadataMax }),
	"offsets.topic.num.partitions":     setInt(func(cfg *broker.Config) *int32 { return &cfg.Groups.OffsetsTopicPartitions }),
	"offsets.topic.replication.factor": setInt(func(cfg *broker.Config) *int16 { return &cfg.Groups.OffsetsTopicReplicas }),
	config.RetentionCheck:              setMillis(func(cfg *broker.Config) *time.Duration { return &cfg.Lifecycle.RetentionCheck }),
	config.CleanerEnable: func(cfg *broker.Config, value string) error {
		on, err := strconv.ParseBool(value)
		cfg.Lifecycle.NoCleaner = !on
		return err
	},
	"producer.id.expiration.ms":      setMillis(func(cfg *broker.Config) *time.Duration { return &cfg.Storage.ProducerExpiry }),
	"transaction.max.timeout.ms":     setMillis(func(cfg *broker.Config) *time.Duration { return &cfg.Transactions.MaxTimeout }),
	"transactional.id.expiration.ms": setMillis(func(cfg *broker.Config) *time.Duration { return &cfg.Transactions.IDExpiration }),
	"transaction.abort.timed.out.transaction.cleanup.interval.ms": setMillis(func(cfg *broker.Config) *time.Duration {
		return &cfg.Transactions.AbortInterval
	}),
	"transaction.remove.expired.transaction.cleanup.interval.ms": setMillis(func(cfg *broker.Config) *time.Duration {
		return &cfg.Transactions.ExpireInterval
	}),
	"transaction.state.log.num.partitions":     setInt(func(cfg *broker.Config) *int32 { return &cfg.Transactions.TopicPartitions }),
	"transaction.state.log.replication.factor": setInt(func(cfg *broker.Config) *int16 { return &cfg.Transactions.TopicReplicas }),
	"offsets.retention.minutes": func(cfg *broker.Config, value string) error {
		minutes, err := strconv.ParseInt(value, 10, 32)
		cfg.Groups.OffsetsRetention = time.Duration(minutes) * time.Minute
		return err
	},
}

// setInt reads a whole number that fits the field.
func setInt[T int | int16 | int32](field func(*broker.Config) *T) func(*broker.Config, string) error {
	return func(cfg *broker.Config, value string) error {
		n, err := strconv.ParseInt(value, 10, 64)
		if err == nil && int64(T(n)) != n {
			err = strconv.ErrRange
		}
		*field(cfg) = T(n)
		return err
	}
}

// setMillis reads milliseconds. 0 means none, for which the broker's settings have a negative value.
func setMillis(field func(*broker.Config) *time.Duration) func(*broker.Config, string) error {
	return func(cfg *broker.Config, value string) error {
		ms, err := strconv.ParseInt(value, 10, 64)
		*field(cfg) = time.Duration(ms) * time.Millisecond
		if ms == 0 {
			*field(cfg) = -1
		}
		return err
	}
}

// setDefaultConfig sets a broker config that can also be altered while the broker runs.
func setDefaultConfig(d *config.Definition) func(*broker.Config, string) error {
	return func(cfg *broker.Config, value string) error {
		if cfg.Defaults.Configs == nil {
			cfg.Defaults.Configs = map[string]string{}
		}
		cfg.Defaults.Configs[d.Name] = value
		return d.Validate(value)
	}
}

// applySettings applies --set on top of what suits a single node: groups start at
// once, as in the configuration that Kafka ships for a first try.
func applySettings(cfg *broker.Config, set []string) error {
	cfg.Groups.InitialRebalanceDelay = -1
	for _, assignment := range set {
		name, value, ok := strings.Cut(assignment, "=")
		if !ok {
			return usageErrorf("--set %q: want name=value", assignment)
		}
		apply, known := brokerSettings[name]
		if d, dynamic := config.Broker(name); !known && dynamic && !d.ReadOnly {
			apply, known = setDefaultConfig(d), true
		}
		if !known {
			return usageErrorf("--set %s: unknown; known are the broker configs that can be altered, and %s", name, strings.Join(slices.Sorted(maps.Keys(brokerSettings)), ", "))
		}
		if err := apply(cfg, value); err != nil {
			return usageErrorf("--set %s: %w", fmt.Sprintf("%s=%s", name, value), err)
		}
	}
	return nil
}
