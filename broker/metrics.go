package broker

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// metrics counts what goes through the connections. Labels are names of APIs,
// errors and listeners, never of topics or clients.
type metrics struct {
	requests    *prometheus.CounterVec   // by api and version
	errors      *prometheus.CounterVec   // by api and error
	latency     *prometheus.HistogramVec // by api
	bytesIn     *prometheus.CounterVec   // by listener
	bytesOut    *prometheus.CounterVec   // by listener
	connections *prometheus.GaugeVec     // by listener
	accepted    *prometheus.CounterVec   // by listener
	closed      *prometheus.CounterVec   // by listener and reason

	byKey map[kmsg.Key]apiMetrics // read-only
}

// apiMetrics are the children of one API, looked up once.
type apiMetrics struct {
	requests prometheus.Counter
	latency  prometheus.Observer
}

// latencyBuckets run from 100 µs to 30 s.
var latencyBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30}

func newMetrics(reg prometheus.Registerer, served []api) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		requests: counter("forebay_requests_total", "Requests answered, by API.", "api"),
		errors:   counter("forebay_request_errors_total", "Kafka errors answered, by API and error.", "api", "error"),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "forebay_request_duration_seconds", Help: "Time from the end of a request's frame until its response was handed to the writer.",
			Buckets: latencyBuckets,
		}, []string{"api"}),
		bytesIn:  counter("forebay_network_received_bytes_total", "Bytes of requests.", "listener"),
		bytesOut: counter("forebay_network_sent_bytes_total", "Bytes of responses.", "listener"),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "forebay_connections", Help: "Open connections.",
		}, []string{"listener"}),
		accepted: counter("forebay_connections_accepted_total", "Connections accepted.", "listener"),
		closed:   counter("forebay_connections_closed_total", "Connections that the broker closed, by cause.", "listener", "cause"),
		byKey:    make(map[kmsg.Key]apiMetrics, len(served)),
	}
	for _, c := range []prometheus.Collector{
		m.requests, m.errors, m.latency, m.bytesIn, m.bytesOut, m.connections, m.accepted, m.closed,
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	for _, a := range served {
		m.byKey[a.key] = apiMetrics{requests: m.requests.WithLabelValues(a.key.Name()), latency: m.latency.WithLabelValues(a.key.Name())}
	}
	return m, nil
}

// seconds feeds durations to a histogram.
func seconds(h prometheus.Observer) func(time.Duration) {
	return func(d time.Duration) { h.Observe(d.Seconds()) }
}

// answered counts a request of an API that took d.
func (m *metrics) answered(key kmsg.Key, d time.Duration) {
	am, ok := m.byKey[key]
	if !ok {
		return
	}
	am.requests.Inc()
	am.latency.Observe(d.Seconds())
}

// failed counts an error that an API answers.
func (m *metrics) failed(key kmsg.Key, ke *kerr.Error) {
	m.errors.WithLabelValues(key.Name(), ke.Message).Inc()
}
