package sink

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// metrics count what a sink does.
type metrics struct {
	joined     atomic.Bool
	records    *prometheus.CounterVec
	requests   *prometheus.CounterVec
	seconds    prometheus.Histogram
	age        prometheus.Histogram
	lag        prometheus.Gauge
	inFlight   prometheus.Gauge
	partitions prometheus.Gauge
}

func newMetrics(to prometheus.Registerer) *metrics {
	m := &metrics{
		records:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "forebay_sink_records_total", Help: "Records by what came of them: delivered, retried (each time) or dead_lettered."}, []string{"outcome"}),
		requests:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "forebay_sink_requests_total", Help: "Requests to the receiver by result: delivered, failed, refused or unavailable."}, []string{"result"}),
		seconds:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "forebay_sink_request_seconds", Help: "Time that a request took.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 18)}),
		age:        prometheus.NewHistogram(prometheus.HistogramOpts{Name: "forebay_sink_record_age_seconds", Help: "Time from a record's timestamp to its delivery.", Buckets: prometheus.ExponentialBuckets(0.01, 3, 14)}),
		lag:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "forebay_sink_lag", Help: "Offsets behind what may be committed, over the partitions of this member, as of the last fetch of each."}),
		inFlight:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "forebay_sink_requests_in_flight", Help: "Requests that are under way."}),
		partitions: prometheus.NewGauge(prometheus.GaugeOpts{Name: "forebay_sink_partitions", Help: "Partitions that this member has read from."}),
	}
	if to != nil {
		to.MustRegister(m.records, m.requests, m.seconds, m.age, m.lag, m.inFlight, m.partitions)
	}
	for _, outcome := range []string{"delivered", "retried", "dead_lettered"} {
		m.records.WithLabelValues(outcome)
	}
	return m
}

func (m *metrics) request(v Verdict, took time.Duration) {
	m.requests.WithLabelValues(v.String()).Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) delivered(r *kgo.Record, at time.Time) {
	m.records.WithLabelValues("delivered").Inc()
	m.age.Observe(max(at.Sub(r.Timestamp).Seconds(), 0))
}
