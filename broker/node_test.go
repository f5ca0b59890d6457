package broker

import (
	"context"
	"encoding/binary"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/wire"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
)

// node is a broker on the loopback with everything in memory.
type node struct {
	*Broker
	t *testing.T
}

// testConfig is the Config of a node.
func testConfig() Config {
	return Config{
		NodeID: 1, Listeners: []Listener{{BindAddr: "127.0.0.1:0"}},
		Metadata: kv.NewMem(), Offsets: kv.NewMem(), Objects: objstore.NewMem(),
	}
}

// startNode opens a broker that is closed with the test.
func startNode(t *testing.T, change ...func(*Config)) *node {
	cfg := testConfig()
	for _, f := range change {
		f(&cfg)
	}
	b, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	n := &node{Broker: b, t: t}
	t.Cleanup(n.close)
	return n
}

func (n *node) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(n.t, n.Close(ctx))
}

// addr is the address of the first listener.
func (n *node) addr() string { return n.Addrs()[0].String() }

// dial opens a raw connection.
func (n *node) dial() *client {
	nc, err := net.Dial("tcp", n.addr())
	require.NoError(n.t, err)
	require.NoError(n.t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	n.t.Cleanup(func() { _ = nc.Close() })
	return &client{t: n.t, nc: nc}
}

// kgo returns a client of the node.
func (n *node) kgo(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(n.addr())}, opts...)...)
	require.NoError(n.t, err)
	n.t.Cleanup(cl.Close)
	return cl
}

func (n *node) admin() *kadm.Client { return kadm.NewClient(n.kgo()) }

// ask sends one request on a connection of its own and decodes the response.
func ask[R kmsg.Response](n *node, req kmsg.Request, resp R) R {
	n.t.Helper()
	c := n.dial()
	defer c.nc.Close()
	c.send(req)
	resp.SetVersion(req.GetVersion())
	c.response(0, resp)
	return resp
}

func TestServesTheVersionsOfTheDesign(t *testing.T) {
	n := startNode(t)
	resp := ask(n, kmsg.NewPtrApiVersionsRequest(), kmsg.NewPtrApiVersionsResponse())
	got := make(map[int16][2]int16)
	last := int16(-1)
	for _, k := range resp.ApiKeys {
		require.Greater(t, k.ApiKey, last, "in order, each once")
		last = k.ApiKey
		got[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
	}
	require.Equal(t, map[int16][2]int16{
		0: {0, 13}, 1: {4, 18}, 2: {1, 11}, 3: {0, 13}, 8: {2, 10}, 9: {1, 10}, 10: {0, 6}, 11: {0, 9}, 12: {0, 4}, 13: {0, 5}, 14: {0, 5},
		15: {0, 6}, 16: {0, 5}, 18: {0, 4}, 19: {2, 7}, 20: {1, 6}, 21: {0, 2}, 22: {0, 5}, 23: {2, 4}, 24: {0, 5}, 25: {0, 4}, 26: {0, 5}, 27: {1, 2}, 28: {0, 5}, 29: {1, 3},
		30: {1, 3}, 31: {1, 3}, 32: {1, 4}, 33: {0, 2}, 35: {1, 4}, 37: {0, 3}, 42: {0, 2}, 43: {0, 2}, 44: {0, 1}, 45: {0, 1}, 46: {0, 0}, 47: {0, 0}, 48: {0, 1}, 50: {0, 0},
		57: {0, 2}, 60: {0, 2}, 61: {0, 0}, 64: {0, 0}, 65: {0, 0}, 66: {0, 2}, 74: {0, 1}, 75: {0, 0},
	}, got)
	for _, a := range n.served {
		require.True(t, wire.Known(a.key), "the wire knows how to walk %s", a.key.Name())
	}
}

func TestAPIVersions(t *testing.T) {
	n := startNode(t)
	t.Run("unknown version", func(t *testing.T) {
		c := n.dial()
		body := []byte{0, 18, 0x7f, 0, 0, 0, 0, 9, 0xff, 0xff, 0, 99}
		_, err := c.nc.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
		require.NoError(t, err)
		resp := kmsg.NewPtrApiVersionsResponse()
		c.response(9, resp)
		require.Equal(t, int16(35), resp.ErrorCode)
		require.Len(t, resp.ApiKeys, 1)
		require.Equal(t, [3]int16{18, 0, 4}, [3]int16{resp.ApiKeys[0].ApiKey, resp.ApiKeys[0].MinVersion, resp.ApiKeys[0].MaxVersion})
	})
	for v := int16(0); v <= 4; v++ {
		for name, want := range map[string]int16{"franz-go": 0, "": 42, "bad name": 42} {
			req := kmsg.NewPtrApiVersionsRequest()
			req.SetVersion(v)
			req.ClientSoftwareName, req.ClientSoftwareVersion = name, "1.0"
			if v < 3 {
				want = 0
			}
			resp := ask(n, req, kmsg.NewPtrApiVersionsResponse())
			require.Equal(t, want, resp.ErrorCode, "version %d, name %q", v, name)
			require.Equal(t, want == 0, len(resp.ApiKeys) > 20)
		}
	}
}

// Each listener's clients are told its own endpoints.
func TestListeners(t *testing.T) {
	n := startNode(t, func(cfg *Config) {
		cfg.Rack = "a"
		cfg.Listeners = []Listener{
			{Name: "INSIDE", BindAddr: "127.0.0.1:0"},
			{Name: "OUTSIDE", BindAddr: "127.0.0.1:0", AdvertisedHost: "kafka.example.org", AdvertisedPort: 9999},
		}
	})
	for i, want := range []string{n.Addrs()[0].String(), "kafka.example.org:9999"} {
		c := &client{t: t}
		var err error
		c.nc, err = net.Dial("tcp", n.Addrs()[i].String())
		require.NoError(t, err)
		req, resp := kmsg.NewPtrMetadataRequest(), kmsg.NewPtrMetadataResponse()
		req.SetVersion(12)
		resp.SetVersion(12)
		c.send(req)
		c.response(0, resp)
		require.Len(t, resp.Brokers, 1)
		require.Equal(t, want, net.JoinHostPort(resp.Brokers[0].Host, decimal(resp.Brokers[0].Port)))
		require.Equal(t, "a", *resp.Brokers[0].Rack)
		require.Equal(t, n.meta.Image().ClusterID(), *resp.ClusterID)
		require.NoError(t, c.nc.Close())
	}
}

func decimal(p int32) string { return strconv.Itoa(int(p)) }

func TestOpenRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"a port that is taken", func(c *Config) { c.Listeners[0].BindAddr = busy.Addr().String() }, "address already in use"},
		{"no listener", func(c *Config) { c.Listeners = nil }, "no listener"},
		{"two listeners of a name", func(c *Config) { c.Listeners = append(c.Listeners, c.Listeners[0]) }, "used twice"},
		{"an unknown protocol", func(c *Config) { c.Listeners[0].Protocol = "SSL" }, `protocol "SSL"`},
		{"a port beyond the range", func(c *Config) { c.Listeners[0].BindAddr = "127.0.0.1:70000" }, "65535"},
		{"an address without a port", func(c *Config) { c.Listeners[0].BindAddr = "127.0.0.1" }, "missing port"},
		{"every address and nothing to advertise", func(c *Config) { c.Listeners[0].BindAddr = ":0" }, "advertises"},
		{"no metadata", func(c *Config) { c.Metadata = nil }, "metadata"},
		{"a negative node id", func(c *Config) { c.NodeID = -1 }, "node id"},
		{"an unknown default", func(c *Config) { c.Defaults.Configs = map[string]string{"log.retention": "1"} }, "log.retention"},
		{"an invalid default", func(c *Config) { c.Defaults.Configs = map[string]string{"log.retention.ms": "x"} }, "log.retention.ms"},
		{"a default with a setting", func(c *Config) { c.Defaults.Configs = map[string]string{"num.partitions": "2"} }, "setting of its own"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig()
			tc.change(&cfg)
			_, err := Open(t.Context(), cfg)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

// A broker that starts again leads the same partitions at the next epoch, and is
// another incarnation.
func TestRestartRaisesEpochs(t *testing.T) {
	cfg := testConfig()
	reuse := func(c *Config) { c.Metadata, c.Offsets, c.Objects = cfg.Metadata, cfg.Offsets, cfg.Objects }
	first := startNode(t, reuse)
	_, err := first.admin().CreateTopic(t.Context(), 3, 1, nil, "t")
	require.NoError(t, err)
	one, ok := first.meta.Image().Broker(1)
	require.True(t, ok)
	first.close()

	second := startNode(t, reuse)
	topic, ok := second.meta.Image().Topic("t")
	require.True(t, ok)
	for _, p := range topic.Partitions {
		require.Equal(t, int32(1), int32(p.Epoch))
		require.Equal(t, int32(1), int32(p.Leader))
	}
	two, _ := second.meta.Image().Broker(1)
	require.NotEqual(t, one.Incarnation, two.Incarnation)
	require.Equal(t, first.meta.Image().ClusterID(), second.meta.Image().ClusterID())
}

// Many requests at once, a parked one first: the responses come in order.
func TestPipelining(t *testing.T) {
	n := startNode(t)
	_, err := n.admin().CreateTopic(t.Context(), 1, 1, nil, "t")
	require.NoError(t, err)
	fetch := kmsg.NewPtrFetchRequest()
	fetch.SetVersion(11)
	fetch.MaxWaitMillis, fetch.MinBytes, fetch.MaxBytes, fetch.SessionEpoch = 300, 1, 1<<20, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = "t"
	part := kmsg.NewFetchRequestTopicPartition()
	part.PartitionMaxBytes, part.CurrentLeaderEpoch = 1<<20, -1
	topic.Partitions = append(topic.Partitions, part)
	fetch.Topics = append(fetch.Topics, topic)
	all := encoded(fetch, 0)
	for i := int32(1); i <= 200; i++ {
		req := kmsg.NewPtrMetadataRequest()
		req.SetVersion(int16(i % 13))
		all = append(all, encoded(req, i)...)
	}
	c := n.dial()
	begun := time.Now()
	go func() { _, _ = c.nc.Write(all) }()
	resp := kmsg.NewPtrFetchResponse()
	resp.SetVersion(11)
	c.response(0, resp)
	require.GreaterOrEqual(t, time.Since(begun), 250*time.Millisecond)
	for i := int32(1); i <= 200; i++ {
		resp := kmsg.NewPtrMetadataResponse()
		resp.SetVersion(int16(i % 13))
		c.response(i, resp)
	}
}

// A broker with parked fetches and joins closes without waiting for them and leaves no goroutine.
func TestCloseWithParkedRequests(t *testing.T) {
	n := startNode(t, func(cfg *Config) {
		cfg.Groups.InitialRebalanceDelay, cfg.Limits.ShutdownGrace = time.Minute, time.Minute
	})
	cl := n.kgo(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.AllowAutoTopicCreation())
	direct := n.kgo(kgo.ConsumeTopics("t"), kgo.AllowAutoTopicCreation(), kgo.FetchMaxWait(time.Minute))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	for _, c := range []*kgo.Client{cl, direct} {
		go func() {
			c.PollFetches(ctx)
			done <- struct{}{}
		}()
	}
	require.Eventually(t, func() bool { return n.inFlight() >= 2 }, 10*time.Second, 5*time.Millisecond, "a fetch and a join are parked")
	begun := time.Now()
	require.NoError(t, n.Close(t.Context()))
	require.Less(t, time.Since(begun), 30*time.Second)
	cancel()
	<-done
	<-done
}

// inFlight counts the requests that are not answered.
func (b *Broker) inFlight() int {
	n := 0
	for _, c := range b.open() {
		c.mu.Lock()
		n += c.inFlight
		c.mu.Unlock()
	}
	return n
}

func TestRequestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	n := startNode(t, func(cfg *Config) { cfg.Registerer = reg })
	req := kmsg.NewPtrDescribeClusterRequest()
	req.SetVersion(1)
	req.EndpointType = 9
	ask(n, req, kmsg.NewPtrDescribeClusterResponse())
	require.Equal(t, 1.0, valueOf(t, n.metrics.requests.WithLabelValues("DescribeCluster")))
	require.Equal(t, 1.0, valueOf(t, n.metrics.errors.WithLabelValues("DescribeCluster", "UNSUPPORTED_ENDPOINT_TYPE")))
	require.Positive(t, valueOf(t, n.metrics.bytesIn.WithLabelValues("PLAINTEXT")))
	sent := n.metrics.bytesOut.WithLabelValues("PLAINTEXT") // counted behind the write that ask waits for
	require.Eventually(t, func() bool { return valueOf(t, sent) > 0 }, 10*time.Second, time.Millisecond)
	families, err := reg.Gather()
	require.NoError(t, err)
	names := make(map[string]bool)
	for _, f := range families {
		names[f.GetName()] = true
	}
	for _, name := range []string{"forebay_requests_total", "forebay_request_duration_seconds", "forebay_request_errors_total", "forebay_connections"} {
		require.True(t, names[name], name)
	}
}
