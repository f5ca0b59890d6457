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

// Attrs are the attributes of a line with metrics, whose one dimension, function, has the value given.
func Attrs(now time.Time, function string, metrics ...Metric) []slog.Attr {
	s := set{Namespace: Namespace, Dimensions: [][]string{{"function"}}}
	attrs := []slog.Attr{slog.String("function", function)}
	for _, m := range metrics {
		s.Metrics = append(s.Metrics, definition{m.Name, m.Unit})
		attrs = append(attrs, slog.Float64(m.Name, m.Value))
	}
	return append(attrs, slog.Any("_aws", directive{now.UnixMilli(), []set{s}}))
}
