package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/forebaylog/forebay/infra/pause"
)

// requests counts what a cluster asks of the store and the tables, by the brokers' own
// metrics: in an idle time with cfg.partitions partitions a broker, for records written, and for
// records read.
func requests(ctx context.Context, b *bench) error {
	if err := b.createTopic(ctx, "many", int32(b.partitions)); err != nil {
		return err
	}
	idle := time.Duration(3*b.seconds) * time.Second
	hours := (idle + settleTime).Hours() // the time between two looks at the counters
	if err := b.counted(ctx, fmt.Sprintf("idle hour, %d partitions", b.partitions), 1/hours, func() error { return pause.For(ctx, idle) }); err != nil {
		return err
	}
	if err := b.createTopic(ctx, "bulk", 6); err != nil {
		return err
	}
	gib := float64(b.records) * 1024 / (1 << 30)
	if err := b.counted(ctx, "GiB written at full speed", 1/gib, func() error {
		if _, err := b.flood(ctx, "bulk"); err != nil {
			return err
		}
		return pause.For(ctx, 5*time.Second) // what follows of it: seals and releases
	}); err != nil {
		return err
	}
	return b.counted(ctx, "GiB read from the beginning", 1/gib, func() error {
		_, err := b.readAll(ctx, "bulk")
		return err
	})
}

// counted tells what f makes the brokers ask for, times scale.
func (b *bench) counted(ctx context.Context, what string, scale float64, f func() error) error {
	before, err := b.counters(ctx)
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	after, err := b.counters(ctx)
	if err != nil {
		return err
	}
	var names []string
	for name := range after {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if d := after[name] - before[name]; d > 0 {
			b.note(what+": "+name, d*scale, "")
		}
	}
	return nil
}

// settleTime is how old the store's own counters may be.
const settleTime = 12 * time.Second

// counters sums the counters of requests and units over all brokers, and adds what the
// store and the tally before the tables have counted themselves.
func (b *bench) counters(ctx context.Context) (map[string]float64, error) {
	sums := map[string]float64{"tables' own count": float64(b.tally.Counts()["passed"])}
	text, err := b.minioMetrics(ctx)
	if err != nil {
		return nil, err
	}
	eachSample(text, func(name string, value float64) {
		if labels, ok := strings.CutPrefix(name, "minio_s3_requests_total{"); ok {
			_, api, _ := strings.Cut(labels, `api="`)
			api, _, _ = strings.Cut(api, `"`)
			sums["store's own count of "+api] += value
		}
	})
	err = b.eachSample(ctx, func(name string, value float64) {
		if strings.HasPrefix(name, "forebay_table_requests_total") {
			sums["table_requests_total, all"] += value
		}
		if strings.HasPrefix(name, "forebay_object_store_requests_total") || strings.HasPrefix(name, "forebay_table_capacity_units_total") ||
			strings.HasPrefix(name, "forebay_object_store_bytes_total") {
			_, labels, _ := strings.Cut(name, "{")
			sums[strings.TrimPrefix(strings.SplitN(name, "{", 2)[0], "forebay_")+"{"+labels] += value
		}
	})
	return sums, err
}

// eachSample reads the metrics of every broker that runs.
func (b *bench) eachSample(ctx context.Context, f func(name string, value float64)) error {
	for _, n := range b.cluster.Brokers() {
		text, err := n.Node().Metrics(ctx)
		if err != nil {
			return err
		}
		eachSample(text, f)
	}
	return nil
}

// eachSample reads metrics in Prometheus's text format.
func eachSample(text string, f func(name string, value float64)) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64); err == nil {
			f(line[:at], value)
		}
	}
}

// minioMetrics reads the store's own counters, once they are up to date.
func (b *bench) minioMetrics(ctx context.Context) (string, error) {
	if err := pause.For(ctx, settleTime); err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.minio.Addr+"/minio/v2/metrics/cluster", nil)
	if err != nil {
		return "", fmt.Errorf("read the store's metrics: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("read the store's metrics: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("read the store's metrics: %w", err)
	}
	return string(body), nil
}

// awaitMetric waits until the sum of a metric over all brokers is as wanted.
func (b *bench) awaitMetric(ctx context.Context, name string, wanted func(float64) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		var sum float64
		if err := b.eachSample(ctx, func(n string, v float64) {
			if n == name {
				sum += v
			}
		}); err != nil {
			return err
		}
		if wanted(sum) {
			return nil
		}
		if err := pause.For(ctx, 500*time.Millisecond); err != nil {
			return fmt.Errorf("await %s, which is %v: %w", name, sum, err)
		}
	}
}
