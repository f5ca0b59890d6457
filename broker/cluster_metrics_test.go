package broker

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/tiering/batch"
)

// gatheredFrom returns all metrics without labels: values, or counts of histograms.
func gatheredFrom(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if len(m.GetLabel()) > 0 {
				continue
			}
			values[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			if f.GetType() == dto.MetricType_HISTOGRAM {
				values[f.GetName()] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return values
}

func TestClusterMetrics(t *testing.T) {
	c := newTestCluster(t)
	regs := []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry()}
	m := c.start(1, unbalanced, func(cfg *Config) { cfg.Registerer = regs[0] })
	c.createTopic("t", 2, 1)
	c.start(2, unbalanced, func(cfg *Config) { cfg.Registerer = regs[1] })
	c.asNode(m).mustProduce("t", 0, batchOfNow(batch.None, 1))

	got := gatheredFrom(t, regs[0])
	for _, name := range []string{
		"forebay_session_valid", "forebay_wal_objects_total", "forebay_wal_bytes_total", "forebay_wal_slots_total", "forebay_wal_kept_objects",
		"forebay_wal_put_seconds", "forebay_wal_slot_seconds", "forebay_metadata_version", "forebay_commit_seconds", "forebay_brokers_live",
	} {
		require.NotZero(t, got[name], name)
	}
	for _, name := range []string{
		"forebay_takeovers_total", "forebay_partitions_acquired_total", "forebay_partitions_released_total", "forebay_takeover_seconds", "forebay_wal_put_retries_total",
		"forebay_wal_slot_retries_total", "forebay_wal_waiting_bytes", "forebay_wal_uploads", "forebay_adopted_segments", "forebay_streams_unreleased", "forebay_wal_released_objects_total",
		"forebay_partitions_leaderless", "forebay_partitions_awaited", "forebay_brokers_fenced", "forebay_seal_failures", "forebay_corrupt_reads_total",
	} {
		require.Contains(t, got, name)
		require.Zero(t, got[name], name)
	}
	require.Less(t, got["forebay_session_age_seconds"], 5.0)
	require.Less(t, got["forebay_metadata_lag_seconds"], 5.0)

	c.move("t", 0, 2)
	c.awaitServing("t", 0, 2)
	eventually(t, "the count of what came", func() bool { return gatheredFrom(t, regs[1])["forebay_partitions_acquired_total"] == 1 })
	eventually(t, "the count of what went", func() bool { return gatheredFrom(t, regs[0])["forebay_partitions_released_total"] == 1 })
	require.Equal(t, 1.0, gatheredFrom(t, regs[1])["forebay_takeover_seconds"])

	m.cut.Store(true)
	eventually(t, "a takeover", func() bool { return gatheredFrom(t, regs[1])["forebay_takeovers_total"] == 1 })
	require.Zero(t, gatheredFrom(t, regs[0])["forebay_session_valid"])
	got = gatheredFrom(t, regs[1])
	require.Equal(t, 1.0, got["forebay_brokers_live"])
	require.Equal(t, 1.0, got["forebay_brokers_fenced"])
}

// A broker is ready while its session is valid, and says why it is not.
func TestReady(t *testing.T) {
	c := newTestCluster(t)
	m := c.start(1)
	require.NoError(t, m.Ready())
	away := func(kv.Op) kv.Fault { return kv.FaultFail }
	m.table.Store(&away)
	eventually(t, "an invalid session", func() bool { return m.Ready() != nil })
	require.ErrorContains(t, m.Ready(), "not renewed")
	m.table.Store(nil)
	require.Eventually(t, func() bool { return m.Ready() == nil }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, m.Close(t.Context()))
	require.ErrorContains(t, m.Ready(), "closing")
	require.NoError(t, startNode(t).Ready())
}
