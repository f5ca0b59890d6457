package broker

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/forebaylog/forebay/infra/transactions"
)

// txnMetrics counts what the transactional ids of this broker do. No label names an id.
type txnMetrics struct {
	ends     *prometheus.CounterVec
	marking  prometheus.Histogram
	loads    prometheus.Histogram
	timeouts prometheus.Counter
	states   *prometheus.Desc
}

func newTxnMetrics(reg prometheus.Registerer) (*txnMetrics, error) {
	m := &txnMetrics{
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "forebay_transactions_completed_total", Help: "Transactions whose markers are all written.",
		}, []string{"result"}),
		marking: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "forebay_transaction_marker_seconds", Help: "From the decision of a transaction until its markers are all written.",
			Buckets: prometheus.ExponentialBuckets(.001, 4, 8),
		}),
		loads: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "forebay_transaction_shard_load_seconds", Help: "Reading of a shard that this broker has come to coordinate.",
			Buckets: prometheus.ExponentialBuckets(.001, 4, 8),
		}),
		timeouts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "forebay_transaction_timeouts_total", Help: "Transactions aborted since they were open for too long.",
		}),
		states: prometheus.NewDesc("forebay_transactional_ids", "Transactional ids that this broker coordinates, by state.", []string{"state"}, nil),
	}
	for _, result := range []string{"commit", "abort"} {
		m.ends.WithLabelValues(result)
	}
	for _, c := range []prometheus.Collector{m.ends, m.marking, m.loads, m.timeouts} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register transaction metrics: %w", err)
		}
	}
	return m, nil
}

// completed counts a transaction that is complete.
func (g *txnMetrics) completed(commit bool, took time.Duration) {
	result := "abort"
	if commit {
		result = "commit"
	}
	g.ends.WithLabelValues(result).Inc()
	g.marking.Observe(took.Seconds())
}

// watch adds the gauges, which are read from the coordinator itself.
func (g *txnMetrics) watch(reg prometheus.Registerer, m *txnCoordinator) error {
	if err := reg.Register(txnGauges{g, m}); err != nil {
		return fmt.Errorf("register transaction metrics: %w", err)
	}
	return nil
}

// txnGauges collects the gauges.
type txnGauges struct {
	*txnMetrics
	coordinator *txnCoordinator
}

// Describe implements prometheus.Collector.
func (g txnGauges) Describe(ch chan<- *prometheus.Desc) { ch <- g.states }

// Collect implements prometheus.Collector.
func (g txnGauges) Collect(ch chan<- prometheus.Metric) {
	var states [transactions.CompleteAbort + 1]int
	g.coordinator.each(func(e *txnEntry) { states[e.item.State]++ })
	for s := transactions.Empty; s <= transactions.CompleteAbort; s++ {
		ch <- prometheus.MustNewConstMetric(g.states, prometheus.GaugeValue, float64(states[s]), s.String())
	}
}
