package broker

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/forebaylog/forebay/broker/lifecycle"
	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/collect"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/seal"
)

// traffic counts records on their way in and out, in all and by topic.
type traffic struct {
	topicTraffic
	topics sync.Map // id.Topic to *topicTraffic
}

// topicTraffic counts records on their way in and out.
type topicTraffic struct {
	producedRecords atomic.Int64
	producedBytes   atomic.Int64 // of batches, as compressed
	fetchedRecords  atomic.Int64
	fetchedBytes    atomic.Int64
}

func (t *traffic) produced(topic id.Topic, v batch.View) {
	for _, one := range []*topicTraffic{&t.topicTraffic, t.of(topic)} {
		one.producedRecords.Add(int64(v.Records()))
		one.producedBytes.Add(int64(v.Length()))
	}
}

func (t *traffic) fetched(topic id.Topic, batches [][]byte, bytes int) {
	records := int64(0)
	for _, v := range batches {
		records += int64(batch.View(v).Records())
	}
	for _, one := range []*topicTraffic{&t.topicTraffic, t.of(topic)} {
		one.fetchedRecords.Add(records)
		one.fetchedBytes.Add(int64(bytes))
	}
}

// of returns the counts of a topic.
func (t *traffic) of(topic id.Topic) *topicTraffic {
	if known := t.peek(topic); known != nil {
		return known
	}
	made, _ := t.topics.LoadOrStore(topic, &topicTraffic{})
	return made.(*topicTraffic) //nolint:errcheck // nothing else is stored
}

// peek is of for a look: it returns nil for a topic without traffic.
func (t *traffic) peek(topic id.Topic) *topicTraffic {
	known, _ := t.topics.Load(topic)
	counts, _ := known.(*topicTraffic)
	return counts
}

// keep forgets the counts of the topics that are not to be kept.
func (t *traffic) keep(kept func(id.Topic) bool) {
	t.topics.Range(func(topic, _ any) bool {
		if !kept(topic.(id.Topic)) { //nolint:errcheck // nothing else is stored
			t.topics.Delete(topic)
		}
		return true
	})
}

// storageMetric is one value that is read when metrics are collected.
type storageMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(s *storage, v snapshot) float64
}

// snapshot is what the tiers say of themselves at one collection.
type snapshot struct {
	hot   journal.Stats
	seal  seal.Stats
	cache cold.Stats

	life    lifecycle.Stats
	collect collect.Stats

	img                 *metalog.Image
	diskTotal, diskFree int64
}

func counter(name, help string, value func(*storage, snapshot) float64) storageMetric {
	return storageMetric{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, value}
}

func gauge(name, help string, value func(*storage, snapshot) float64) storageMetric {
	return storageMetric{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, value}
}

// storageMetrics are the metrics of the tiers. None has a label, so that their
// number does not grow with the topics.
var storageMetrics = []storageMetric{
	counter("forebay_produced_records_total", "Records appended.", func(s *storage, _ snapshot) float64 { return float64(s.traffic.producedRecords.Load()) }),
	counter("forebay_produced_bytes_total", "Bytes of record batches appended, as compressed.", func(s *storage, _ snapshot) float64 { return float64(s.traffic.producedBytes.Load()) }),
	counter("forebay_fetched_bytes_total", "Bytes of record batches answered to fetches.", func(s *storage, _ snapshot) float64 { return float64(s.traffic.fetchedBytes.Load()) }),
	counter("forebay_fetched_records_total", "Records answered to fetches, counted by whole batches.", func(s *storage, _ snapshot) float64 { return float64(s.traffic.fetchedRecords.Load()) }),
	gauge("forebay_hot_segments", "Hot segments on disk.", func(_ *storage, v snapshot) float64 { return float64(v.hot.Segments) }),
	gauge("forebay_hot_bytes", "Bytes of the hot segments.", func(_ *storage, v snapshot) float64 { return float64(v.hot.Bytes) }),
	gauge("forebay_tail_bytes", "Bytes of the newest records held in memory.", func(_ *storage, v snapshot) float64 { return float64(v.hot.TailBytes) }),
	counter("forebay_group_commits_total", "Syncs of the hot segment; each commits all that waits.", func(_ *storage, v snapshot) float64 { return float64(v.hot.Syncs) }),
	counter("forebay_index_rebuilds_total", "Times that the index was made anew from the hot segments.", func(_ *storage, v snapshot) float64 { return float64(v.hot.IndexRebuilds) }),
	counter("forebay_sealed_bytes_total", "Bytes of record batches sealed into packs.", func(_ *storage, v snapshot) float64 { return float64(v.seal.Bytes) }),
	counter("forebay_sealed_packs_total", "Packs written.", func(_ *storage, v snapshot) float64 { return float64(v.seal.Packs) }),
	gauge("forebay_seal_lag_bytes", "Bytes of rolled hot segments that are not sealed yet.", func(_ *storage, v snapshot) float64 { return float64(v.seal.LagBytes) }),
	gauge("forebay_seal_lag_seconds", "Time since the oldest hot segment that is not sealed was begun.", sealLag),
	gauge("forebay_seal_paused", "1 while sealing is paused (forebay.seal.enable).", func(s *storage, _ snapshot) float64 { return truth(s.sealer.Paused()) }),
	gauge("forebay_hot_budget_bytes", "Bytes of hot segments above which sealed ones are dropped.", func(s *storage, _ snapshot) float64 { return float64(s.sealer.DiskBudget()) }),
	counter("forebay_pack_requests_total", "Requests to the object store for chunks of packs.", func(_ *storage, v snapshot) float64 { return float64(v.cache.Requests) }),
	counter("forebay_pack_cache_hits_total", "Reads of chunks that were in memory.", func(_ *storage, v snapshot) float64 { return float64(v.cache.Hits) }),
	gauge("forebay_pack_cache_bytes", "Bytes of chunks in memory.", func(_ *storage, v snapshot) float64 { return float64(v.cache.CachedBytes) }),
	counter("forebay_retention_log_starts_moved_total", "Log starts that retention moved.", func(_ *storage, v snapshot) float64 { return float64(v.life.Moved) }),
	counter("forebay_retention_bytes_total", "Bytes of sealed segments that retention let go.", func(_ *storage, v snapshot) float64 { return float64(v.life.RetainedBytes) }),
	counter("forebay_retention_records_total", "Records of sealed segments that retention let go.", func(_ *storage, v snapshot) float64 { return float64(v.life.RetainedRecords) }),
	counter("forebay_merged_segments_total", "Sealed segments that were put together or moved to another pack.", func(_ *storage, v snapshot) float64 { return float64(v.life.Merged) }),
	counter("forebay_merged_bytes_total", "Bytes of the segments that came of it.", func(_ *storage, v snapshot) float64 { return float64(v.life.MergedBytes) }),
	counter("forebay_log_cleaner_passes_total", "Passes of compaction over a partition that took something away.", func(_ *storage, v snapshot) float64 { return float64(v.life.Compacted) }),
	gauge("forebay_log_cleaner_max_dirty_percent", "Kafka's max-dirty-percent: of the dirtiest compacted partition of this broker, what is not compacted.", func(_ *storage, v snapshot) float64 { return 100 * v.life.MaxDirtyRatio }),
	counter("forebay_collector_looks_total", "Looks of the collector, by this broker.", func(_ *storage, v snapshot) float64 { return float64(v.collect.Looks) }),
	counter("forebay_collector_errors_total", "Looks of the collector that failed.", func(_ *storage, v snapshot) float64 { return float64(v.collect.Errors) }),
	counter("forebay_collector_removed_objects_total", "Objects that the collector removed.", func(_ *storage, v snapshot) float64 { return float64(v.collect.Removed.Objects) }),
	counter("forebay_collector_removed_bytes_total", "Bytes of these.", func(_ *storage, v snapshot) float64 { return float64(v.collect.Removed.Bytes) }),
	gauge("forebay_partitions", "Partitions led by this broker.", func(s *storage, _ snapshot) float64 { return float64(s.logs.Len()) }),
	gauge("forebay_partitions_awaited", "Partitions that have come to this broker and are not served yet.", func(s *storage, _ snapshot) float64 { return float64(len(s.logs.Missing())) }),
	gauge("forebay_partitions_leaderless", "Partitions without a live leader, as this broker sees it.", func(_ *storage, v snapshot) float64 { return float64(leaderless(v.img)) }),
	gauge("forebay_brokers_live", "Live brokers, as this one sees them.", func(_ *storage, v snapshot) float64 { return float64(len(placement.Live(v.img))) }),
	gauge("forebay_brokers_fenced", "Registered brokers that are dead or have left.", func(_ *storage, v snapshot) float64 {
		return float64(len(v.img.Brokers()) - len(placement.Live(v.img)))
	}),
	gauge("forebay_seal_failures", "Rounds of sealing that failed in a row; 0 after one that succeeded.", func(_ *storage, v snapshot) float64 { return float64(v.seal.FailureStreak) }),
	counter("forebay_corrupt_reads_total", "Batches and footers of packs that were found damaged and not served.", func(_ *storage, v snapshot) float64 { return float64(v.cache.Corrupt) }),
	gauge("forebay_disk_bytes", "Size of the file system of the data directory; -1 if unknown.", func(_ *storage, v snapshot) float64 { return float64(v.diskTotal) }),
	gauge("forebay_disk_free_bytes", "Bytes that are free there; -1 if unknown.", func(_ *storage, v snapshot) float64 { return float64(v.diskFree) }),
}

// newCommitTime registers the histogram of the group commit.
func newCommitTime(reg prometheus.Registerer) (prometheus.Histogram, error) {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "forebay_commit_seconds", Help: "Time from the append of a group's first batch until the group was durable.", Buckets: latencyBuckets,
	})
	if err := reg.Register(h); err != nil {
		return nil, fmt.Errorf("register metrics of the group commit: %w", err)
	}
	return h, nil
}

// sealLag is in seconds.
func sealLag(s *storage, v snapshot) float64 {
	if v.seal.Oldest.IsZero() {
		return 0
	}
	return max(0, s.b.cfg.Now().Sub(v.seal.Oldest).Seconds())
}

// Describe implements prometheus.Collector.
func (s *storage) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range storageMetrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (s *storage) Collect(metrics chan<- prometheus.Metric) {
	v := snapshot{hot: s.journal.Stats(), seal: s.sealer.Stats(), cache: s.cold.Stats(), life: s.life.keeper.Stats(), collect: s.life.collect.Stats(), img: s.b.meta.Image()}
	v.diskTotal, v.diskFree = volume(s.b.cfg.DataDir)
	for _, m := range storageMetrics {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s, v))
	}
}
