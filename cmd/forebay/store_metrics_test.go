package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
)

// counted returns the values of a counter by one of its labels.
func counted(t *testing.T, reg *prometheus.Registry, name, label string) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == label {
					values[l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
	return values
}

func TestStoreFailuresAreCountedByCause(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := newStoreMetrics(reg)
	require.NoError(t, err)
	for _, r := range []objstore.Request{
		{Status: http.StatusOK},
		{Status: http.StatusNotFound},
		{Status: http.StatusPreconditionFailed},
		{Err: fmt.Errorf("put: %w", context.Canceled)},
		{Status: http.StatusServiceUnavailable},
		{Status: http.StatusTooManyRequests},
		{Status: http.StatusForbidden},
		{Status: http.StatusInternalServerError},
		{Status: http.StatusOK, Err: http.ErrHandlerTimeout},
	} {
		m.store("objects")(r)
	}
	require.Equal(t, map[string]float64{"throttled": 2, "denied": 1, "server": 1, "network": 1}, counted(t, reg, "forebay_object_store_errors_total", "cause"))

	for _, err := range []error{nil, kv.ErrConflict, fmt.Errorf("get: %w", kv.ErrThrottled), kv.ErrUnreachable} {
		m.table(kv.Request{Table: "t", Operation: "GetItem", Err: err})
	}
	require.Equal(t, map[string]float64{"ok": 1, "conflict": 1, "throttled": 1, "error": 1}, counted(t, reg, "forebay_table_requests_total", "outcome"))
}
