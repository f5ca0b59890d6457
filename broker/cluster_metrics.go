package broker

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/forebaylog/forebay/broker/takeover"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/wal"
)

// clusterMetrics counts what a member of a cluster does. No label names a topic, a
// partition or another broker.
type clusterMetrics struct {
	takeovers prometheus.Counter
	acquires  prometheus.Counter // partitions
	releases  prometheus.Counter // partitions
	takeover  prometheus.Histogram
	puts      prometheus.Histogram
	slots     prometheus.Histogram
	followed  atomic.Int64 // when the metadata log was last read to its end, in Unix nanoseconds
}

// walBuckets run from 1 ms to 30 s.
var walBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

func newClusterMetrics(reg prometheus.Registerer) (*clusterMetrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: walBuckets})
	}
	m := &clusterMetrics{
		takeovers: counter("forebay_takeovers_total", "Dead brokers whose partitions this one gave to live ones."),
		acquires:  counter("forebay_partitions_acquired_total", "Partitions that came to this broker and were recovered."),
		releases:  counter("forebay_partitions_released_total", "Partitions that this broker gave to others by its own hand."),
		takeover:  histogram("forebay_takeover_seconds", "Time from the sight of partitions that have come to this broker until they are served."),
		puts:      histogram("forebay_wal_put_seconds", "Time until a WAL object was stored, retries included."),
		slots:     histogram("forebay_wal_slot_seconds", "Time until a slot of the WAL stream was taken, retries included."),
	}
	m.followed.Store(time.Now().UnixNano())
	for _, one := range []prometheus.Collector{m.takeovers, m.acquires, m.releases, m.takeover, m.puts, m.slots} {
		if err := reg.Register(one); err != nil {
			return nil, fmt.Errorf("register metrics of the cluster: %w", err)
		}
	}
	return m, nil
}

// acquired counts partitions that were recovered together.
func (m *clusterMetrics) acquired(partitions int, took time.Duration) {
	if partitions > 0 {
		m.acquires.Add(float64(partitions))
		m.takeover.Observe(took.Seconds())
	}
}

// released counts partitions that have moved away.
func (m *clusterMetrics) released(partitions int) { m.releases.Add(float64(partitions)) }

// clusterState is what a member says of itself at one collection.
type clusterState struct {
	*cluster
	stream wal.StreamStats
	img    *metalog.Image
	now    time.Time
}

// clusterGauge is one value that is read when metrics are collected.
type clusterGauge struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(s clusterState) float64
}

func clusterValue(kind prometheus.ValueType, name, help string, value func(clusterState) float64) clusterGauge {
	return clusterGauge{prometheus.NewDesc(name, help, nil, nil), kind, value}
}

// clusterGauges are the metrics that are read from the parts themselves.
var clusterGauges = func() []clusterGauge {
	gauge := func(name, help string, value func(clusterState) float64) clusterGauge {
		return clusterValue(prometheus.GaugeValue, name, help, value)
	}
	counter := func(name, help string, value func(clusterState) float64) clusterGauge {
		return clusterValue(prometheus.CounterValue, name, help, value)
	}
	return []clusterGauge{
		gauge("forebay_session_valid", "Whether this broker may act as a leader: 1 or 0.", func(s clusterState) float64 { return truth(s.session.Valid()) }),
		gauge("forebay_session_age_seconds", "Time since the session was last renewed.", func(s clusterState) float64 { return s.now.Sub(s.session.LastRenewal()).Seconds() }),
		counter("forebay_wal_objects_total", "WAL objects stored.", func(s clusterState) float64 { return float64(s.stream.Objects) }),
		counter("forebay_wal_bytes_total", "Bytes of the WAL objects stored.", func(s clusterState) float64 { return float64(s.stream.Bytes) }),
		counter("forebay_wal_slots_total", "Slots of the WAL stream taken; each commits one or more objects.", func(s clusterState) float64 { return float64(s.stream.Slots) }),
		counter("forebay_wal_put_retries_total", "Attempts to store a WAL object that failed.", func(s clusterState) float64 { return float64(s.stream.PutRetries) }),
		counter("forebay_wal_slot_retries_total", "Attempts to take a slot that failed.", func(s clusterState) float64 { return float64(s.stream.SlotRetries) }),
		counter("forebay_wal_released_objects_total", "WAL objects removed since their records are sealed.", func(s clusterState) float64 { return float64(s.stream.Released) }),
		gauge("forebay_wal_kept_objects", "WAL objects committed and not released: what a takeover reads.", func(s clusterState) float64 { return float64(s.stream.Kept) }),
		gauge("forebay_wal_uploads", "WAL objects that are being uploaded.", func(s clusterState) float64 { return float64(s.stream.InFlight) }),
		gauge("forebay_wal_waiting_bytes", "Bytes of batches that wait for their commit.", func(s clusterState) float64 { return float64(s.b.storage.wal.Waiting()) }),
		gauge("forebay_adopted_segments", "Runs in WAL objects of earlier leaders that this broker has to seal.", func(s clusterState) float64 {
			n := 0
			for _, a := range s.b.storage.logs.Adoptions() {
				n += len(a.Segments)
			}
			return float64(n)
		}),
		gauge("forebay_metadata_version", "Slot of the metadata log that this broker has read last.", func(s clusterState) float64 { return float64(s.img.Version()) }),
		gauge("forebay_metadata_lag_seconds", "Time since this broker last read the metadata log to its end.", func(s clusterState) float64 {
			return s.now.Sub(time.Unix(0, s.metrics.followed.Load())).Seconds()
		}),
		gauge("forebay_streams_unreleased", "WAL streams of sessions that are over and hold records that are not sealed.", func(s clusterState) float64 { return float64(len(takeover.Over(s.img))) }),
	}
}()

// Describe implements prometheus.Collector.
func (c *cluster) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range clusterGauges {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector. The storage is open.
func (c *cluster) Collect(metrics chan<- prometheus.Metric) {
	s := clusterState{cluster: c, stream: c.stream.Stats(), img: c.b.meta.Image(), now: time.Now()}
	for _, m := range clusterGauges {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s))
	}
}
