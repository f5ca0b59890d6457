// Package load makes load on brokers of the Kafka protocol and measures it. It is
// the engine of 'forebay bench', and works against any such broker.
//
// A Producer sends records that were made before it started, through any number
// of clients; a Consumer reads them. Latencies go into HDR histograms of
// microseconds, one for each client, merged at the end. At a fixed rate a record's
// latency counts from the moment it was due, not from when the client got around
// to it, so that a stall is not measured as one slow record.
package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Result is what one run has shown. Durations are in seconds, as JSON has no unit for them.
type Result struct {
	Records          int64   `json:"records"`
	Bytes            int64   `json:"bytes"` // of keys and values
	Failed           int64   `json:"failed"`
	Seconds          float64 `json:"seconds"`
	RecordsPerSecond float64 `json:"records_per_second"`
	MBPerSecond      float64 `json:"mb_per_second"` // 10^6 bytes
	// Latency is nil when it was not measured.
	Latency *Latency `json:"latency_ms,omitempty"`
}

// Latency is a distribution in milliseconds.
type Latency struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

func newResult(records, bytes, failed int64, took time.Duration) Result {
	s := max(took.Seconds(), 1e-9)
	return Result{
		Records: records, Bytes: bytes, Failed: failed, Seconds: s,
		RecordsPerSecond: float64(records) / s, MBPerSecond: float64(bytes) / 1e6 / s,
	}
}

// histogram covers 1 µs to 10 minutes with three digits.
func histogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 600_000_000, 3) }

func note(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(d.Microseconds(), 1), h.HighestTrackableValue())) // within the range
}

func summarize(h *hdrhistogram.Histogram) *Latency {
	if h.TotalCount() == 0 {
		return nil
	}
	at := func(p float64) float64 { return float64(h.ValueAtPercentile(p)) / 1000 }
	return &Latency{Mean: h.Mean() / 1000, P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: float64(h.Max()) / 1000}
}

// payloadBytes is how much is made before the start, in which payloads overlap.
const payloadBytes = 4 << 20

// payloads is a supply of values that do not compress.
type payloads struct {
	bytes []byte
	size  int
	rand  *rand.Rand
}

func newPayloads(size int, seed uint64) *payloads {
	p := &payloads{bytes: make([]byte, size+payloadBytes), size: size, rand: rand.New(rand.NewPCG(seed, 0))}
	for i := range p.bytes {
		p.bytes[i] = byte(p.rand.Uint32())
	}
	return p
}

// next returns a value that nobody may change.
func (p *payloads) next() []byte {
	at := p.rand.IntN(payloadBytes)
	return p.bytes[at : at+p.size : at+p.size]
}

// pace says when a record is due at rate records a second; the zero pace is always due.
type pace struct {
	began time.Time
	gap   time.Duration
}

func newPace(rate float64) pace {
	p := pace{began: time.Now()}
	if rate > 0 {
		p.gap = time.Duration(float64(time.Second) / rate)
	}
	return p
}

// await returns when record n is due, or with ctx, and the moment it was due.
func (p pace) await(ctx context.Context, n int64) (time.Time, error) {
	now := time.Now()
	if p.gap == 0 {
		return now, nil
	}
	due := p.began.Add(time.Duration(n) * p.gap)
	if wait := due.Sub(now); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return due, ctx.Err()
		}
	}
	return due, nil
}

// firstError keeps the first of many errors, and counts them. It is safe for concurrent use.
type firstError struct {
	mu    sync.Mutex
	first error
	count int64
}

func (f *firstError) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if f.first == nil {
		f.first = err
	}
}

func (f *firstError) result() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first == nil {
		return 0, nil
	}
	return f.count, fmt.Errorf("%d records failed, the first with: %w", f.count, f.first)
}

// closeAll closes the clients.
func closeAll(clients []*kgo.Client) {
	for _, c := range clients {
		c.Close()
	}
}
