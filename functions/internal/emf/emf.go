// Package emf makes log lines that CloudWatch takes metrics from: the embedded metric format, as attributes of
// a line of slog's JSON. So a function needs no right and no request to publish metrics. It owns nothing.
package emf

import (
	"log/slog"
	"time"
)

// Namespace is that of all metrics.
const Namespace = "Forebay"

// Unit is one of CloudWatch's units.
type Unit string

// The units that are used.
const (
	Count        Unit = "Count"
	Bytes        Unit = "Bytes"
	Milliseconds Unit = "Milliseconds"
)

// Metric is a value of a metric.
type Metric struct {
	Name  string
	Unit  Unit
	Value float64
}

// directive is what tells CloudWatch which of the attributes are metrics.
type directive struct {
	Timestamp         int64 `json:"Timestamp"` // ms since 1970
	CloudWatchMetrics []set `json:"CloudWatchMetrics"`
}

type set struct {
	Namespace  string       `json:"Namespace"`
	Dimensions [][]string   `json:"Dimensions"`
	Metrics    []definition `json:"Metrics"`
}

type definition struct {
	Name string `json:"Name"`
	Unit Unit   `json:"Unit"`
}

// Origin is where metrics come from: the values of their two dimensions. A line with an empty one is taken no
// metrics from.
type Origin struct {
	Cluster  string // which no other cluster of the account and region has
	Function string
}

// Attrs are the attributes of a line with metrics.
func (o Origin) Attrs(now time.Time, metrics ...Metric) []slog.Attr {
	s := set{Namespace: Namespace, Dimensions: [][]string{{"Cluster", "Function"}}}
	attrs := []slog.Attr{slog.String("Cluster", o.Cluster), slog.String("Function", o.Function)}
	for _, m := range metrics {
		s.Metrics = append(s.Metrics, definition{m.Name, m.Unit})
		attrs = append(attrs, slog.Float64(m.Name, m.Value))
	}
	return append(attrs, slog.Any("_aws", directive{now.UnixMilli(), []set{s}}))
}
