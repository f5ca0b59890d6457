package broker

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"
)

// bareBroker is a Broker that serves certain APIs on pipes and has nothing below.
func bareBroker(t *testing.T, limits Limits, log io.Writer, served ...api) (*Broker, *listener) {
	cfg := Config{Limits: limits, Logger: slog.New(slog.NewTextHandler(log, nil))}.withDefaults()
	served = append(served, api{key: kmsg.ApiVersions, min: 0, max: 4, handle: synchronous(handleAPIVersions)})
	b := &Broker{
		cfg: cfg, log: cfg.Logger, served: served, byKey: make(map[kmsg.Key]*api), versions: advertised(served),
		queued: semaphore.NewWeighted(cfg.Limits.MaxQueuedBytes), draining: make(chan struct{}), closed: make(chan struct{}), failed: make(chan error, 1),
		conns: make(map[*conn]struct{}),
	}
	var err error
	b.metrics, err = newMetrics(prometheus.NewRegistry(), served)
	require.NoError(t, err)
	for i := range b.served {
		b.byKey[b.served[i].key] = &b.served[i]
	}
	l := &listener{
		Listener: Listener{Name: "PLAINTEXT", Protocol: Plaintext},
		received: b.metrics.bytesIn.WithLabelValues("PLAINTEXT"), sent: b.metrics.bytesOut.WithLabelValues("PLAINTEXT"),
	}
	return b, l
}

// valueOf reads a counter or a gauge.
func valueOf(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	require.NoError(t, m.Write(&d))
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

// client is the other end of a connection.
type client struct {
	t    *testing.T
	nc   net.Conn
	next int32
}

// connect serves one end of a pipe and returns the other.
func connect(t *testing.T, b *Broker, l *listener) *client {
	server, nc := net.Pipe()
	b.serve(l, server)
	t.Cleanup(func() { _ = nc.Close() })
	return &client{t: t, nc: nc}
}

// encoded is a request as it stands on the wire.
func encoded(req kmsg.Request, correlation int32) []byte {
	p := kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, correlation)
	return p
}

// send writes a request.
func (c *client) send(req kmsg.Request) {
	_, err := c.nc.Write(encoded(req, c.next))
	require.NoError(c.t, err)
	c.next++
}

// frame reads one response without its size.
func (c *client) frame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c.nc, size[:]); err != nil {
		return nil, err
	}
	p := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(c.nc, p)
	return p, err
}

// response reads the response with the correlation id.
func (c *client) response(correlation int32, resp kmsg.Response) {
	c.t.Helper()
	p, err := c.frame()
	require.NoError(c.t, err)
	require.Equal(c.t, correlation, int32(binary.BigEndian.Uint32(p)))
	p = p[4:]
	if resp.IsFlexible() && resp.Key() != kmsg.ApiVersions.Int16() {
		p = p[1:]
	}
	require.NoError(c.t, resp.ReadFrom(p))
}

// closed waits for the end of the connection.
func (c *client) closed() {
	c.t.Helper()
	_, err := c.nc.Read(make([]byte, 1))
	require.ErrorIs(c.t, err, io.EOF)
}

// heartbeat is a small request; the tests serve it as they like.
func heartbeat(group string) *kmsg.HeartbeatRequest {
	req := kmsg.NewPtrHeartbeatRequest()
	req.SetVersion(4)
	req.Group = group
	return req
}

func newHeartbeatResponse() *kmsg.HeartbeatResponse {
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.SetVersion(4)
	return resp
}

// heartbeats serves heartbeats with handle.
func heartbeats(handle func(*call)) api {
	return api{key: kmsg.Heartbeat, min: 0, max: 4, handle: func(_ context.Context, _ *Broker, c *call) { handle(c) }}
}

func groupOf(c *call) string { return requestOf[*kmsg.HeartbeatRequest](c).Group }
