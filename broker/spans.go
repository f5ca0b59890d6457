package broker

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/forebaylog/forebay/infra/tracing"
)

// The spans of a broker. What a group commit does is shared by many requests, so its spans are
// traces of their own: a produce's commit is that of the wal.commit that ends with it.
const (
	spanProduce  = "produce"    // a Produce, until it is answered
	spanAppend   = "append"     // below it: validation, and the queue of the group commit
	spanCommit   = "commit"     // below it: the wait for the group commit
	spanFetch    = "cold read"  // of one partition of a Fetch, below the hot tier
	spanWAL      = "wal.commit" // a group, from the append of its first batch until it was durable
	spanPut      = "wal.put"    // a WAL object, until it was stored
	spanSlot     = "wal.slot"   // a slot of the stream, until it was taken
	spanSeal     = "seal"       // a pass that sealed something, or failed
	spanTakeOver = "takeover"   // of a dead broker's partitions, until they have new leaders
	spanAcquire  = "acquire"    // of partitions that have come, until they are served
)

// RareSpan reports whether spans of the name are few, whatever the load is.
func RareSpan(name string) bool {
	return name == spanSeal || name == spanTakeOver || name == spanAcquire
}

// observedSpan feeds durations to a histogram, in seconds, and makes spans of them.
func observedSpan(t *tracing.Tracer, name string, h prometheus.Histogram) func(time.Duration) {
	return func(d time.Duration) {
		h.Observe(d.Seconds())
		t.Past(context.Background(), name, d, nil)
	}
}
