package events

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"
)

// Config says what a Server writes to and how much it takes. Zero values mean the defaults.
type Config struct {
	// Brokers are the addresses of Kafka listeners, the own one first.
	Brokers []string
	// MaxBody is the largest request, in bytes: default 8 MiB.
	MaxBody int64
	// MaxEvents is the largest batch: default 10,000.
	MaxEvents int
	// MaxInFlight bounds the requests and records in memory, in bytes: default 64 MiB.
	MaxInFlight int64
	// Timeout is how long a request may take: default 30 s.
	Timeout time.Duration
	// Logger is required.
	Logger *slog.Logger
	// Registerer takes the metrics, if there is one.
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	c.MaxBody = cmp.Or(c.MaxBody, 8<<20)
	c.MaxEvents = cmp.Or(c.MaxEvents, 10_000)
	c.MaxInFlight = max(cmp.Or(c.MaxInFlight, 64<<20), 4*c.MaxBody)
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	return c
}

// Server is an http.Handler for POST /topics/{topic}/events. It is safe for concurrent use.
type Server struct {
	cfg      Config
	producer *producer
	metrics  *metrics
	mux      *http.ServeMux
	inFlight *semaphore.Weighted // bytes

	mu      sync.RWMutex   // Close waits with it for the requests that came before
	closed  bool           // no request is taken any more
	running sync.WaitGroup // requests
}

// Open makes a server on brokers that may not be reachable yet. Close it.
func Open(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	p, err := newProducer(cfg.Brokers, cfg.Timeout)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, producer: p, metrics: newMetrics(cfg.Registerer), mux: http.NewServeMux(), inFlight: semaphore.NewWeighted(cfg.MaxInFlight)}
	s.mux.HandleFunc("POST /topics/{topic}/events", s.post)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		newProblem(http.StatusNotFound, "", "send events with POST /topics/TOPIC/events").write(w)
	})
	s.mux.HandleFunc("/topics/{topic}/events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", http.MethodPost)
		newProblem(http.StatusMethodNotAllowed, "", "send events with POST").write(w)
	})
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		Unavailable(w, "the broker is stopping")
		return
	}
	s.running.Add(1)
	s.mu.RUnlock()
	defer s.running.Done()
	s.mux.ServeHTTP(w, r)
}

// Unavailable answers that no broker is there now, and that the client shall try again.
func Unavailable(w http.ResponseWriter, why string) {
	newProblem(http.StatusServiceUnavailable, "BROKER_NOT_AVAILABLE", why+"; send the event again").write(w)
}

// Misdirected answers a request that is addressed to somebody else.
func Misdirected(w http.ResponseWriter, host string) {
	newProblem(http.StatusMisdirectedRequest, "", "this address takes requests to localhost and not to "+strconv.Quote(host)).write(w)
}

// Close takes no more requests, waits for those that are there as long as ctx allows, and
// closes the producer.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { // ends with the requests, whose time is bounded
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	return s.producer.close(ctx)
}

// answer is the document of a request that was written.
type answer struct {
	Topic  string    `json:"topic"`
	Events []outcome `json:"events"` // in the order of the request
}

func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	result, err := s.accept(ctx, w, r)
	code := http.StatusOK
	if err != nil {
		var p *problem
		if !errors.As(err, &p) {
			p = newProblem(http.StatusInternalServerError, "", err.Error())
			s.cfg.Logger.Error("cannot take an event", "err", err)
		}
		code = p.Status
		p.write(w)
	} else {
		w.Header().Set("Content-Type", "application/json")
		writeJSON(w, code, result)
	}
	s.metrics.request(code, time.Since(began))
}

// accept reads, checks and writes the events of a request. Its error is a problem.
func (s *Server) accept(ctx context.Context, w http.ResponseWriter, r *http.Request) (*answer, error) {
	m, err := modeOf(r.Header)
	if err != nil {
		return nil, err
	}
	body, free, err := s.read(w, r)
	if err != nil {
		return nil, err
	}
	defer free()
	events, err := decode(m, r.Header, body, s.cfg.MaxEvents)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("topic")
	if err := s.producer.find(ctx, name); err != nil {
		return nil, err
	}
	result := &answer{Topic: name, Events: []outcome{}}
	if len(events) == 0 { // an empty batch is a batch
		return result, nil
	}
	if result.Events, err = s.write(ctx, name, events); err != nil {
		return nil, err
	}
	s.metrics.events.WithLabelValues(string(m)).Add(float64(len(events)))
	return result, nil
}

// read reads the body, as far as it is allowed to be, and counts it as in flight until free is called.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (body []byte, free func(), err error) {
	limit := s.cfg.MaxBody
	tooLarge := newProblem(http.StatusRequestEntityTooLarge, "MESSAGE_TOO_LARGE", fmt.Sprintf("the request is larger than %d bytes; send less at once", limit))
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // the body is not read
		return nil, nil, tooLarge
	}
	need := r.ContentLength
	if need < 0 {
		need = limit
	}
	if !s.take(need) {
		return nil, nil, newProblem(http.StatusServiceUnavailable, "THROTTLING_QUOTA_EXCEEDED", "too many events are on their way; send this again later")
	}
	free = func() { s.free(need) }
	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		return body, free, nil
	}
	free()
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return nil, nil, tooLarge
	}
	return nil, nil, newProblem(http.StatusBadRequest, "", "the body cannot be read: "+err.Error())
}

func (s *Server) take(n int64) bool {
	ok := s.inFlight.TryAcquire(n)
	if ok {
		s.metrics.inFlight.Add(float64(n))
	}
	return ok
}

func (s *Server) free(n int64) {
	s.inFlight.Release(n)
	s.metrics.inFlight.Sub(float64(n))
}

// write writes the events and returns where they are. If one of them is not acknowledged the error
// is its problem, with what came of all.
func (s *Server) write(ctx context.Context, name string, events []event.Event) ([]outcome, error) {
	records := make([]*kgo.Record, len(events))
	var total int64
	for i, e := range events {
		r, err := toRecord(name, e)
		if err != nil {
			return nil, invalidEvents([]invalid{{Index: i, Detail: err.Error()}})
		}
		records[i] = r
		total += size(r)
	}
	if !s.take(total) {
		return nil, newProblem(http.StatusServiceUnavailable, "THROTTLING_QUOTA_EXCEEDED", "too many events are on their way; send these again later")
	}
	outcomes := s.producer.write(ctx, records, func(r *kgo.Record) { s.free(size(r)) })
	var worst *problem
	for i := range outcomes {
		o := &outcomes[i]
		o.ID = events[i].ID()
		if o.err == nil {
			continue
		}
		p := produceProblem(name, o.err)
		o.KafkaError, o.Error = p.KafkaError, p.Detail
		if worst == nil || p.Status == http.StatusServiceUnavailable { // to try again may help
			worst = p
		}
	}
	if worst == nil {
		return outcomes, nil
	}
	if len(events) > 1 {
		worst.Events = outcomes
	}
	s.cfg.Logger.Debug("events were not acknowledged", "topic", name, "events", len(events), "status", worst.Status, "err", worst.Detail)
	return nil, worst
}

// metrics count requests and events.
type metrics struct {
	requests *prometheus.CounterVec
	events   *prometheus.CounterVec
	seconds  prometheus.Histogram
	inFlight prometheus.Gauge
}

func newMetrics(to prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "forebay_events_requests_total", Help: "Requests to POST /topics/{topic}/events, by status code."}, []string{"code"}),
		events:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "forebay_events_accepted_total", Help: "CloudEvents that were written and acknowledged, by content mode."}, []string{"mode"}),
		seconds:  prometheus.NewHistogram(prometheus.HistogramOpts{Name: "forebay_events_request_seconds", Help: "Time from a request's headers to its answer.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 16)}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "forebay_events_in_flight_bytes", Help: "Bytes of requests and records that are not answered yet."}),
	}
	if to != nil {
		to.MustRegister(m.requests, m.events, m.seconds, m.inFlight)
	}
	return m
}

func (m *metrics) request(code int, took time.Duration) {
	m.requests.WithLabelValues(strconv.Itoa(code)).Inc()
	m.seconds.Observe(took.Seconds())
}
