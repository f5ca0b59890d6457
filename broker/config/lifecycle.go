package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// The broker configs of retention, compaction, merging and the collector.
const (
	RetentionCheck  = "log.retention.check.interval.ms"
	CleanerEnable   = "log.cleaner.enable"
	CleanerBackoff  = "log.cleaner.backoff.ms"
	CleanerBytes    = "log.cleaner.io.max.bytes.per.second"
	CleanerBuffer   = "log.cleaner.dedupe.buffer.size"
	CleanerThreads  = "log.cleaner.threads"
	MergeInterval   = "forebay.merge.interval.ms"
	Maintenance     = "forebay.maintenance"
	CollectInterval = "forebay.collect.interval.ms"
	CollectGrace    = "forebay.collect.grace.ms"
	AuditRetention  = "forebay.audit.retention.ms"
)

// The values of forebay.maintenance.
const (
	MaintenanceBroker = "broker" // brokers do it
	MaintenanceNone   = "none"   // functions do it
)

// unlimitedRate is Kafka's largest rate.
const unlimitedRate = "1.7976931348623157E308"

// lifecycleDefinitions are the broker configs of the life of data that can be altered while the broker runs.
var lifecycleDefinitions = []Definition{
	{Name: AuditRetention, Type: Long, Default: "7776000000", check: atLeast(-1), Doc: "How long it is kept who changed what, from when it is archived, in ms; -1 is for ever."},
	{Name: CleanerBackoff, Type: Long, Default: "15000", check: atLeast(0), Doc: "Pause of compaction when there is nothing to compact, in ms."},
	{Name: CleanerBuffer, Type: Long, Default: "134217728", check: atLeast(0), Doc: "Memory for the keys of the records that are compacted, in bytes."},
	{Name: "log.cleaner.io.buffer.load.factor", Type: Double, Default: "0.9", Doc: "Kafka's fullness of the buffer of keys; without effect."},
	{Name: "log.cleaner.io.buffer.size", Type: Int, Default: "524288", check: atLeast(0), Doc: "Kafka's memory for reads and writes of compaction; without effect."},
	{Name: CleanerBytes, Type: Double, Default: unlimitedRate, Doc: "Bytes a second that compaction and merging read and write."},
	{Name: CleanerThreads, Type: Int, Default: "1", check: atLeast(0), Doc: "Kafka's number of cleaners. Here there is one, whatever the value."},
	{Name: MergeInterval, Type: Long, Default: "300000", check: atLeast(1), Doc: "How often small segments of a partition are looked for and merged, in ms."},
}

// lifecycleReadOnly are those that a running broker cannot change.
var lifecycleReadOnly = []Definition{
	{Name: CollectGrace, Type: Long, Default: "86400000", Doc: "How long what nothing names is kept, in ms."},
	{Name: CollectInterval, Type: Long, Default: "3600000", Doc: "How often what nothing names is looked for, in ms; -1 is never."},
	{Name: Maintenance, Type: String, Default: MaintenanceBroker, Doc: "Whether retention, merging and compaction are done by brokers or, with none, left to functions."},
	{Name: CleanerEnable, Type: Boolean, Default: "true", Doc: "Whether topics with cleanup.policy compact are compacted."},
	{Name: RetentionCheck, Type: Long, Default: "300000", Doc: "How often retention is looked to, in ms."},
}

// Lifecycle is what the dynamic configs of the life of data come to.
type Lifecycle struct {
	CleanerBackoff time.Duration
	CleanerBuffer  int64   // bytes
	CleanerBytes   float64 // a second; math.MaxFloat64: no limit
	MergeInterval  time.Duration
	AuditKept      time.Duration // negative: for ever
}

// ResolveLifecycle computes what counts for a broker with the layers, as Resolve does for a topic.
func ResolveLifecycle(l Layers) Lifecycle {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(brokerValue(name, l), 10, 64) // which was validated
		return n
	}
	ms := func(name string) time.Duration {
		return time.Duration(min(number(name), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	}
	rate, err := strconv.ParseFloat(strings.TrimSpace(brokerValue(CleanerBytes, l)), 64)
	if err != nil || rate <= 0 {
		rate = math.MaxFloat64
	}
	return Lifecycle{
		CleanerBackoff: ms(CleanerBackoff), CleanerBuffer: number(CleanerBuffer), CleanerBytes: rate, MergeInterval: ms(MergeInterval), AuditKept: ms(AuditRetention),
	}
}
