package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
)

// storeMetrics counts what is asked of the object stores and the tables: what a cloud bills.
type storeMetrics struct {
	requests      *prometheus.CounterVec   // by store and class
	failures      *prometheus.CounterVec   // by store, class and cause
	bytes         *prometheus.CounterVec   // by store and direction
	requestTime   *prometheus.HistogramVec // by store and class, in seconds
	operations    *prometheus.CounterVec   // by table, operation and outcome
	units         *prometheus.CounterVec   // by table and kind
	operationTime *prometheus.HistogramVec // by table and operation, in seconds
}

func newStoreMetrics(reg prometheus.Registerer) (*storeMetrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}, labels)
	}
	m := &storeMetrics{
		requests:      counter("forebay_object_store_requests_total", "HTTP requests sent to an object store, retries included.", "store", "class"),
		failures:      counter("forebay_object_store_errors_total", "Of these requests, those that failed: throttled (429, 503), denied (401, 403), server (other 5xx), or network.", "store", "class", "cause"),
		bytes:         counter("forebay_object_store_bytes_total", "Bytes of bodies sent to and received from an object store.", "store", "direction"),
		requestTime:   histogram("forebay_object_store_request_seconds", "Time of a request to an object store.", "store", "class"),
		operations:    counter("forebay_table_requests_total", "Requests sent to a table, retries included; the outcome is ok, conflict, throttled or error.", "table", "operation", "outcome"),
		units:         counter("forebay_table_capacity_units_total", "Capacity units consumed of a table.", "table", "kind"),
		operationTime: histogram("forebay_table_request_seconds", "Time of a request to a table.", "table", "operation"),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.requests, m.failures, m.bytes, m.requestTime, m.operations, m.units, m.operationTime} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

// store observes the requests of one object store.
func (m *storeMetrics) store(name string) func(objstore.Request) {
	return func(r objstore.Request) {
		class := r.Class.String()
		m.requests.WithLabelValues(name, class).Inc()
		if cause := failureOf(r); cause != "" {
			m.failures.WithLabelValues(name, class, cause).Inc()
		}
		m.bytes.WithLabelValues(name, "sent").Add(float64(r.Sent))
		m.bytes.WithLabelValues(name, "received").Add(float64(r.Received))
		m.requestTime.WithLabelValues(name, class).Observe(r.Duration.Seconds())
	}
}

// failureOf names why a request failed; "" if it did not: also when the reply says that there is no
// such object or that a condition does not hold, which is an answer, or when the caller gave up.
func failureOf(r objstore.Request) string {
	switch {
	case errors.Is(r.Err, context.Canceled):
		return ""
	case r.Err != nil:
		return "network"
	case r.Status == http.StatusTooManyRequests || r.Status == http.StatusServiceUnavailable:
		return "throttled"
	case r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden:
		return "denied"
	case r.Status >= http.StatusInternalServerError:
		return "server"
	}
	return ""
}

// table observes the requests of the tables.
func (m *storeMetrics) table(r kv.Request) {
	outcome := "ok"
	switch {
	case errors.Is(r.Err, kv.ErrConflict):
		outcome = "conflict"
	case errors.Is(r.Err, kv.ErrThrottled):
		outcome = "throttled"
	case r.Err != nil:
		outcome = "error"
	}
	m.operations.WithLabelValues(r.Table, r.Operation, outcome).Inc()
	m.units.WithLabelValues(r.Table, "read").Add(r.ReadUnits)
	m.units.WithLabelValues(r.Table, "write").Add(r.WriteUnits)
	m.operationTime.WithLabelValues(r.Table, r.Operation).Observe(r.Duration.Seconds())
}
