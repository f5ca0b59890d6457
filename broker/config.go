package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/tracing"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/wal"
)

// Protocol is the security protocol of a listener, by Kafka's name.
type Protocol string

// Plaintext is a listener with neither encryption nor authentication.
const Plaintext Protocol = "PLAINTEXT"

// Listener is one address that clients connect to, and what they are told of it.
type Listener struct {
	Name     string // Kafka's listener name, such as INTERNAL; default: the protocol
	Protocol Protocol
	BindAddr string // host:port; port 0 takes a free one
	// AdvertisedHost and AdvertisedPort are what Metadata tells the clients of this
	// listener. They default to the bound address, which must then name a host.
	AdvertisedHost string
	AdvertisedPort int32
}

// Defaults are the broker settings that topics inherit or that apply where a
// request leaves the choice to the broker.
type Defaults struct {
	// NoAutoCreateTopics turns off auto.create.topics.enable, which is on by default.
	NoAutoCreateTopics bool
	NumPartitions      int32 // num.partitions, default 1
	ReplicationFactor  int16 // default.replication.factor, default 1
	MessageMaxBytes    int32 // message.max.bytes, default 1048588
	// Configs holds further settings by the names of Kafka's broker configs, such as
	// log.retention.ms: those that topics inherit.
	Configs map[string]string
}

// Groups are the settings of consumer groups. A zero duration takes Kafka's
// default; a negative one means none at all, where that makes sense.
type Groups struct {
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms, default 3 s; negative: none
	MinSessionTimeout     time.Duration // group.min.session.timeout.ms, default 6 s
	MaxSessionTimeout     time.Duration // group.max.session.timeout.ms, default 30 min
	MaxSize               int           // group.max.size in members, 0: no limit
	OffsetsRetention      time.Duration // offsets.retention.minutes, default 7 days
	OffsetMetadataMax     int           // offset.metadata.max.bytes, default 4096
	// OffsetCommitWindow is how long commits gather before they are written together and
	// then answered: 50 ms in a cluster. The default of a node alone, 0, writes as fast as the table takes it.
	OffsetCommitWindow     time.Duration
	OffsetsTopicPartitions int32 // offsets.topic.num.partitions, default 50; counts when the topic is created
	OffsetsTopicReplicas   int16 // offsets.topic.replication.factor, default 3, at most the live brokers
}

// Transactions are the settings of transactions. A zero takes Kafka's default.
type Transactions struct {
	MaxTimeout      time.Duration // transaction.max.timeout.ms, default 15 min
	IDExpiration    time.Duration // transactional.id.expiration.ms, default 7 days
	AbortInterval   time.Duration // transaction.abort.timed.out.transaction.cleanup.interval.ms, default 10 s
	ExpireInterval  time.Duration // transaction.remove.expired.transaction.cleanup.interval.ms, default 1 h
	TopicPartitions int32         // transaction.state.log.num.partitions, default 50; counts when the topic is created
	TopicReplicas   int16         // transaction.state.log.replication.factor, default 3, at most the live brokers
}

// Limits bound what connections may take.
type Limits struct {
	MaxRequestBytes    int32         // socket.request.max.bytes, default 100 MiB
	MaxConnections     int           // default 10,000
	MaxInFlight        int           // requests of one connection that wait for their answer, default 64
	MaxInFlightBytes   int64         // their frames and the records of their answers in bytes, of one connection, default 32 MiB; one is always admitted
	MaxQueuedBytes     int64         // frames of all connections above 64 KiB that wait, default 256 MiB
	ConnectionIdle     time.Duration // connections.max.idle.ms, default 10 min
	FrameTimeout       time.Duration // for a frame to arrive or leave, besides a second for each 32 KiB, default 30 s
	ShutdownGrace      time.Duration // for requests in flight when the broker closes, default 1 s
	CloseTime          time.Duration // for each part of the broker to end what it is at when it closes, default 5 s
	UnauthenticatedMax int32         // frame bytes before authentication, on listeners that need it, default 512 KiB
}

// Storage are the settings of the tiers. A zero takes the default.
type Storage struct {
	SegmentBytes int64         // size at which a hot segment is rolled, default 128 MiB
	SegmentAge   time.Duration // age at which it is rolled, default 10 min
	TailBytes    int64         // newest records kept in memory, default 32 MiB
	HotBytes     int64         // hot segments kept on disk as cache once sealed, default 1 GiB
	CacheBytes   int64         // memory for chunks of packs, default 64 MiB
	SealInterval time.Duration // how often sealing looks for work when no segment is rolled
	// ProducerExpiry is how long a partition remembers an idempotent producer that is silent
	// and has no open transaction: producer.id.expiration.ms, default 24 h.
	ProducerExpiry time.Duration
}

// Config is what a Broker is made of. The zero value of a setting takes its default.
type Config struct {
	NodeID    id.Broker
	Rack      string
	Listeners []Listener

	Metadata kv.Store       // the metadata log
	Offsets  kv.Store       // committed offsets of groups
	Chains   kv.Store       // the sealed chains; default: Metadata
	Objects  objstore.Store // packs and snapshots
	// ObjectsName and WALName are what DescribeLogDirs calls the object store and that of WAL objects,
	// such as s3://bucket/prefix: "objects", and the former.
	ObjectsName, WALName string
	FS                   vfs.FS // below DataDir
	DataDir              string // hot segments and index; "" keeps them in memory

	// MaxLevel is the highest level of the metadata to support: metalog.LatestLevel. Tests stand for older releases with it.
	MaxLevel int16

	Cluster *Cluster // nil: this node alone, its hot segments the only copy until they are sealed

	Storage   Storage
	Lifecycle Lifecycle
	Defaults  Defaults
	Groups    Groups
	Limits    Limits

	Transactions Transactions

	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // default: a registry of its own
	// DetailedLimit bounds GatherDetailed: partitions, topics, groups and offsets of groups, each;
	// default 10,000.
	DetailedLimit int
	Tracer        *tracing.Tracer  // nil: no spans
	Now           func() time.Time // default: time.Now
}

// withDefaults returns cfg with every zero setting replaced by its default.
func (cfg Config) withDefaults() Config {
	setDefault(&cfg.Chains, cfg.Metadata)
	setDefault(&cfg.ObjectsName, "objects")
	setDefault(&cfg.DetailedLimit, defaultDetailed)
	setDefault(&cfg.WALName, cfg.ObjectsName)
	setDefault(&cfg.FS, vfs.OS())
	setDefault(&cfg.Logger, slog.New(slog.DiscardHandler))
	setDefault(&cfg.Registerer, prometheus.Registerer(prometheus.NewRegistry()))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Defaults = cfg.Defaults.withDefaults()
	cfg.Groups = cfg.Groups.withDefaults()
	cfg.Limits = cfg.Limits.withDefaults()
	cfg.Transactions = cfg.Transactions.withDefaults()
	setDefault(&cfg.Storage.ProducerExpiry, 24*time.Hour)
	if cfg.Cluster != nil {
		c := cfg.Cluster.withDefaults()
		cfg.Cluster = &c
		setDefault(&cfg.Lifecycle.CollectGrace, 24*time.Hour)
		setDefault(&cfg.Groups.OffsetCommitWindow, 50*time.Millisecond) // each write costs a request
		if c.WAL != nil {
			cfg.Objects = objstore.Route(cfg.Objects, wal.ObjectPrefix, c.WAL)
		}
	}
	cfg.Lifecycle = cfg.Lifecycle.withDefaults()
	cfg.Listeners = append([]Listener(nil), cfg.Listeners...)
	for i := range cfg.Listeners {
		setDefault(&cfg.Listeners[i].Protocol, Plaintext)
		setDefault(&cfg.Listeners[i].Name, string(cfg.Listeners[i].Protocol))
	}
	return cfg
}

func (d Defaults) withDefaults() Defaults {
	setDefault(&d.NumPartitions, 1)
	setDefault(&d.ReplicationFactor, 1)
	setDefault(&d.MessageMaxBytes, 1<<20+12)
	return d
}

func (g Groups) withDefaults() Groups {
	setDefault(&g.InitialRebalanceDelay, 3*time.Second)
	g.InitialRebalanceDelay = max(g.InitialRebalanceDelay, 0)
	setDefault(&g.MinSessionTimeout, 6*time.Second)
	setDefault(&g.MaxSessionTimeout, 30*time.Minute)
	setDefault(&g.OffsetsRetention, 7*24*time.Hour)
	setDefault(&g.OffsetMetadataMax, 4096)
	setDefault(&g.OffsetsTopicPartitions, 50)
	setDefault(&g.OffsetsTopicReplicas, 3)
	return g
}

func (t Transactions) withDefaults() Transactions {
	setDefault(&t.MaxTimeout, 15*time.Minute)
	setDefault(&t.IDExpiration, 7*24*time.Hour)
	setDefault(&t.AbortInterval, 10*time.Second)
	setDefault(&t.ExpireInterval, time.Hour)
	setDefault(&t.TopicPartitions, 50)
	setDefault(&t.TopicReplicas, 3)
	return t
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.MaxRequestBytes, 100<<20)
	setDefault(&l.MaxConnections, 10_000)
	setDefault(&l.MaxInFlight, 64)
	setDefault(&l.MaxInFlightBytes, 32<<20)
	setDefault(&l.MaxQueuedBytes, 256<<20)
	setDefault(&l.ConnectionIdle, 10*time.Minute)
	setDefault(&l.FrameTimeout, 30*time.Second)
	setDefault(&l.ShutdownGrace, time.Second)
	setDefault(&l.CloseTime, 5*time.Second)
	setDefault(&l.UnauthenticatedMax, 512<<10)
	return l
}

// setDefault sets *p to value if it is zero.
func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// Validate reports every setting that a Broker cannot run with. It expects a
// Config with its defaults filled in, as Open makes it.
func (cfg Config) Validate() error {
	var errs []error
	reject := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	reject(cfg.NodeID < 0, "node id %d: must not be negative", cfg.NodeID)
	reject(cfg.Metadata == nil, "no store for the metadata log")
	reject(cfg.Offsets == nil, "no store for group offsets")
	reject(cfg.Objects == nil, "no object store")
	reject(len(cfg.Listeners) == 0, "no listener")
	reject(cfg.Defaults.NumPartitions < 1, "default partitions %d: must be at least 1", cfg.Defaults.NumPartitions)
	reject(cfg.Defaults.ReplicationFactor < 1, "default replication factor %d: must be at least 1", cfg.Defaults.ReplicationFactor)
	reject(cfg.Defaults.MessageMaxBytes < 0, "message.max.bytes %d: must not be negative", cfg.Defaults.MessageMaxBytes)
	reject(cfg.Groups.MinSessionTimeout > cfg.Groups.MaxSessionTimeout, "group session timeouts: the minimum %v exceeds the maximum %v",
		cfg.Groups.MinSessionTimeout, cfg.Groups.MaxSessionTimeout)
	reject(cfg.Groups.OffsetsTopicPartitions < 1 || cfg.Groups.OffsetsTopicPartitions > admin.MaxPartitions, "offsets topic with %d partitions: must be from 1 to %d",
		cfg.Groups.OffsetsTopicPartitions, admin.MaxPartitions)
	reject(cfg.Groups.OffsetsTopicReplicas < 1, "offsets topic with replication factor %d: must be at least 1", cfg.Groups.OffsetsTopicReplicas)
	reject(cfg.DetailedLimit < 0, "limit of the detailed metrics %d: must not be negative", cfg.DetailedLimit)
	reject(cfg.Groups.OffsetCommitWindow < 0, "offset commit window %v: must not be negative", cfg.Groups.OffsetCommitWindow)
	cfg.Transactions.validate(reject)
	reject(cfg.Storage.ProducerExpiry < time.Millisecond, "expiration of producer ids %v: must be at least 1 ms", cfg.Storage.ProducerExpiry)
	cfg.Lifecycle.validate(reject)
	reject(cfg.Limits.MaxRequestBytes < 1024, "request limit of %d bytes: must be at least 1024", cfg.Limits.MaxRequestBytes)
	reject(cfg.Limits.MaxQueuedBytes < int64(cfg.Limits.MaxRequestBytes), "limit of %d queued bytes: must hold one request of %d bytes",
		cfg.Limits.MaxQueuedBytes, cfg.Limits.MaxRequestBytes)
	for name, value := range cfg.Defaults.Configs {
		errs = append(errs, validateDefault(name, value), cfg.checkServed(map[string]*string{name: &value}))
	}
	names := make(map[string]bool)
	for _, l := range cfg.Listeners {
		reject(names[l.Name], "listener %s: the name is used twice", l.Name)
		names[l.Name] = true
		if err := l.validate(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (t Transactions) validate(reject func(bad bool, format string, args ...any)) {
	reject(t.MaxTimeout < time.Millisecond || t.MaxTimeout.Milliseconds() > math.MaxInt32, "longest transaction timeout %v: must be from 1 ms to 2^31-1 ms", t.MaxTimeout)
	reject(t.IDExpiration < time.Millisecond, "expiration of transactional ids %v: must be at least 1 ms", t.IDExpiration)
	reject(t.AbortInterval < time.Millisecond || t.ExpireInterval < time.Millisecond, "transaction cleanup intervals %v and %v: must be at least 1 ms",
		t.AbortInterval, t.ExpireInterval)
	reject(t.TopicPartitions < 1 || t.TopicPartitions > admin.MaxPartitions, "transaction state topic with %d partitions: must be from 1 to %d", t.TopicPartitions, admin.MaxPartitions)
	reject(t.TopicReplicas < 1, "transaction state topic with replication factor %d: must be at least 1", t.TopicReplicas)
}

// validateDefault checks one of Defaults.Configs.
func validateDefault(name, value string) error {
	d, ok := config.Broker(name)
	switch {
	case !ok:
		return fmt.Errorf("broker config %s: %w", name, config.ErrUnknown)
	case d.ReadOnly:
		return fmt.Errorf("broker config %s: has a setting of its own", name)
	}
	return d.Validate(value)
}

func (l Listener) validate() error {
	if l.Protocol != Plaintext {
		return fmt.Errorf("listener %s: protocol %q is not served; use %s", l.Name, l.Protocol, Plaintext)
	}
	host, port, err := net.SplitHostPort(l.BindAddr)
	if err != nil {
		return fmt.Errorf("listener %s: bind address: %w", l.Name, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("listener %s: port %q: must be a number from 0 to 65535", l.Name, port)
	}
	if l.AdvertisedPort < 0 || l.AdvertisedPort > 65535 {
		return fmt.Errorf("listener %s: advertised port %d: must be from 0 to 65535", l.Name, l.AdvertisedPort)
	}
	if ip := net.ParseIP(host); l.AdvertisedHost == "" && (host == "" || ip != nil && ip.IsUnspecified()) {
		return fmt.Errorf("listener %s binds every address: set the host that it advertises", l.Name)
	}
	return nil
}
