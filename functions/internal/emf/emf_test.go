package emf

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAttrs: the line is as CloudWatch's embedded metric format wants it: the directive and the values are at the root.
func TestAttrs(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{}
		}
		return a
	}}))
	log.LogAttrs(context.Background(), slog.LevelInfo, "request", Origin{"events", "api"}.Attrs(time.UnixMilli(1700000000123),
		Metric{"Requests", Count, 1}, Metric{"Latency", Milliseconds, 12.5})...)
	require.JSONEq(t, `{
		"level": "INFO", "msg": "request", "Cluster": "events", "Function": "api", "Requests": 1, "Latency": 12.5,
		"_aws": {"Timestamp": 1700000000123, "CloudWatchMetrics": [{
			"Namespace": "Forebay", "Dimensions": [["Cluster", "Function"]],
			"Metrics": [{"Name": "Requests", "Unit": "Count"}, {"Name": "Latency", "Unit": "Milliseconds"}]
		}]}
	}`, b.String())
}
