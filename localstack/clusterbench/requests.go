package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// requests counts what a cluster asks of the store and the tables, by the brokers' own
// metrics: in an idle time with cfg.partitions partitions a broker, for records written, and for
// records read.
func requests(ctx context.Context, b *bench) error {
	if err := b.createTopic(ctx, "many", int32(b.partitions)); err != nil {
		return err
	}
	idle := time.Duration(3*b.seconds) * time.Second
	if err := b.counted(ctx, fmt.Sprintf("idle hour, %d partitions", b.partitions), time.Hour.Seconds()/idle.Seconds(), func() error { return sleep(ctx, idle) }); err != nil {
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
		return sleep(ctx, 5*time.Second) // what follows of it: seals and releases
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

// counters sums the counters of requests and units over all brokers.
func (b *bench) counters(ctx context.Context) (map[string]float64, error) {
	sums := map[string]float64{}
	err := b.eachSample(ctx, func(name string, value float64) {
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
	return nil
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
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return fmt.Errorf("await %s, which is %v: %w", name, sum, err)
		}
	}
}
