//go:build e2e

package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/forebaylog/forebay/localstack/rig"
)

// requireRefused starts a broker that must end by itself, soon, with exit code 1 or 2 and
// with all of the words in its last message, which it returns.
func requireRefused(t *testing.T, cfg rig.ForebayConfig, words ...string) (said string) {
	t.Helper()
	cfg.Binary = forebay
	node, err := rig.LaunchForebay(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, node.Kill()) }()
	var exit *exec.ExitError
	require.ErrorAs(t, node.Wait(timeout(t, refusalLimit)), &exit, "the exit code must say that it failed:\n%s", node.Output())
	require.Contains(t, []int{1, 2}, exit.ExitCode(), node.Output())
	for _, word := range words {
		require.Contains(t, node.Output(), word)
	}
	require.NotContains(t, node.Output(), "goroutine ", "a message, not a stack")
	return node.Output()
}

// refusalLimit is how long a broker may try before it gives up.
const refusalLimit = time.Minute

func TestRefusesTakenPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	addr := taken.Addr().String()
	requireRefused(t, rig.ForebayConfig{Dir: t.TempDir(), Addr: addr}, addr, "address already in use")
	requireRefused(t, rig.ForebayConfig{Dir: t.TempDir(), Admin: addr}, addr, "address already in use")
}

func TestRefusesSecondProcessOnOneDirectory(t *testing.T) {
	dir := t.TempDir()
	node := ownBroker(t, dir)
	requireRefused(t, rig.ForebayConfig{Dir: dir}, dir, "another forebay uses it")
	requireServes(t, node)
}

func TestRefusesForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	note := filepath.Join(dir, "notes.txt")
	require.NoError(t, os.WriteFile(note, []byte("mine"), 0o600))
	requireRefused(t, rig.ForebayConfig{Dir: dir}, dir, "notes.txt")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing may be added to a directory that is not ours")

	requireRefused(t, rig.ForebayConfig{Dir: note}, note)
	text, err := os.ReadFile(note)
	require.NoError(t, err)
	require.Equal(t, "mine", string(text))
}

// requireServes produces and consumes a record.
func requireServes(t *testing.T, node *rig.Node) {
	t.Helper()
	topic := newTopic(t, node.Addr, 1)
	events := unique(10)
	produce(t, franz{}, node.Addr, topic, "none", events)
	consumeAlone(t, franz{}, node.Addr, topic, events)
}

// Frames that are no requests close their connection and nothing else. Memory stays bounded,
// for a length is a claim and not a reason to allocate.
func TestMalformedFrames(t *testing.T) {
	node := ownBroker(t, t.TempDir())
	requireServes(t, node)
	before, err := rig.ReadUsage(node.PID())
	require.NoError(t, err)

	frames := map[string][]byte{
		"empty frame":       frame(0, nil),
		"negative length":   frame(-1, []byte("x")),
		"least length":      frame(-1<<31, nil),
		"huge length":       frame(1<<31-1, []byte("x")),
		"too short":         frame(3, []byte("abc")),
		"unknown key":       request(9999, 0, nil),
		"negative key":      request(-1, 0, nil),
		"HTTP":              []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"TLS":               {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0},
		"huge array":        request(3, 1, []byte{0x7f, 0xff, 0xff, 0xff}),
		"huge string":       request(19, 2, []byte{0, 0, 0, 1, 0x7f, 0xff, 'a'}),
		"huge varint":       request(3, 12, []byte{0, 0xff, 0xff, 0xff, 0xff, 0x0f}),
		"negative records":  request(0, 3, append([]byte{0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 0}, 0x80, 0, 0, 0)),
		"truncated produce": request(0, 9, []byte{0, 0, 1}),
	}
	for name, bytes := range frames {
		t.Run(name, func(t *testing.T) { requireCloses(t, node.Addr, bytes) })
	}
	t.Run("random requests", func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			body := make([]byte, random.IntN(200))
			for i := range body {
				body[i] = byte(random.Uint32())
			}
			sendAndHangUp(t, node.Addr, request(int16(random.IntN(95)), int16(random.IntN(14)), body))
		}
	})

	require.True(t, node.Running(), node.Output())
	requireServes(t, node)
	after, err := rig.ReadUsage(node.PID())
	require.NoError(t, err)
	require.Less(t, after.PeakRSS-before.PeakRSS, int64(128<<20), "memory grew by the claims in frames")
}

// frame is a length, true or not, and what follows it.
func frame(length int32, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(length)), body...)
}

// request is a frame with a header that names a key and a version.
func request(key, version int16, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, 7)      // correlation id
	b = binary.BigEndian.AppendUint16(b, 0xffff) // no client id
	b = append(b, body...)
	return frame(int32(len(b)), b)
}

// requireCloses sends bytes and expects the broker to close the connection. It may answer first.
func requireCloses(t *testing.T, addr string, bytes []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = conn.Write(bytes)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, conn)
	require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "the connection is still open")
}

// sendAndHangUp sends bytes, waits for the first of an answer, an end or a moment, and closes.
func sendAndHangUp(t *testing.T, addr string, bytes []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write(bytes)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Millisecond)))
	_, _ = conn.Read(make([]byte, 1))
}

// What a well-formed request asks wrongly gets the right Kafka error.
func TestWrongRequests(t *testing.T) {
	node := ownBroker(t, t.TempDir())
	topic := newTopic(t, node.Addr, 1)
	good := batch("good")
	flipped := batch("flipped")
	flipped[len(flipped)-1] ^= 1
	short := batch("short")
	for _, c := range []struct {
		name      string
		topic     string
		partition int32
		records   []byte
		want      error
	}{
		{"good", topic, 0, good, nil},
		{"wrong CRC", topic, 0, flipped, kerr.CorruptMessage},
		{"cut off", topic, 0, short[:len(short)-3], kerr.InvalidRecord},
		{"unknown partition", topic, 1, good, kerr.UnknownTopicOrPartition},
		{"unknown topic", "nowhere", 0, good, kerr.UnknownTopicOrPartition},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, produceRaw(t, node.Addr, c.topic, c.partition, c.records))
		})
	}

	ctx := timeout(t, stepLimit)
	never := "never"
	for _, c := range []struct {
		name    string
		topic   string
		configs map[string]*string
		want    error
	}{
		{"invalid name", "a/b", nil, kerr.InvalidTopicException},
		{"a dot", ".", nil, kerr.InvalidTopicException},
		{"taken", topic, nil, kerr.TopicAlreadyExists},
		{"invalid value", "fresh", map[string]*string{"retention.ms": &never}, kerr.InvalidConfig},
		{"unknown config", "fresh", map[string]*string{"no.such.config": &never}, kerr.InvalidConfig},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := admin(node.Addr, func(a *kadm.Client) error {
				_, err := a.CreateTopic(ctx, 1, 1, c.configs, c.topic)
				return err
			})
			require.ErrorIs(t, err, c.want)
		})
	}
	h := newHistory()
	p, read, err := stream("kcat", kcat{}.alone(ctx, node.Addr, topic, 1), h, func(int) {})
	require.NoError(t, err)
	require.NoError(t, p.Wait(ctx))
	<-read
	require.Equal(t, map[at]content{{0, 0}: {"", "good"}}, h.records, "only the good batch is in the log")
}

// batch is a record batch of one record.
func batch(value string) []byte {
	record := kmsg.Record{Value: []byte(value)}
	encoded := record.AppendTo(nil)
	record.Length = int32(len(encoded) - 1) // its own length is one byte here
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: 1, Records: record.AppendTo(nil),
		FirstTimestamp: time.Now().UnixMilli(), MaxTimestamp: time.Now().UnixMilli(),
	}
	const beforeLength, beforeCRC = 12, 21
	bytes := b.AppendTo(nil)
	binary.BigEndian.PutUint32(bytes[8:], uint32(len(bytes)-beforeLength))
	binary.BigEndian.PutUint32(bytes[17:], crc32.Checksum(bytes[beforeCRC:], crc32.MakeTable(crc32.Castagnoli)))
	return bytes
}

// produceRaw sends records as they are and returns the partition's error.
func produceRaw(t *testing.T, addr, topic string, partition int32, records []byte) error {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.MaxVersions(kversion.V2_8_0())) // topics by name
	require.NoError(t, err)
	defer client.Close()
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	tp := kmsg.NewProduceRequestTopic()
	tp.Topic, tp.Partitions = topic, append(tp.Partitions, p)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis, req.Topics = -1, 5000, append(req.Topics, tp)
	ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
	defer cancel()
	resp, err := client.Broker(1).Request(ctx, req)
	require.NoError(t, err)
	produced, ok := resp.(*kmsg.ProduceResponse)
	require.True(t, ok)
	return kerr.ErrorForCode(produced.Topics[0].Partitions[0].ErrorCode)
}
