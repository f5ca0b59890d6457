package metalog

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func text(s string) *string { return &s }

// everyRecord has each type of record with every field set.
func everyRecord() []Record {
	return []Record{
		ClusterCreated{ID: "cluster"},
		TopicCreated{
			Name: "orders", ID: topicID(1), ReplicationFactor: 3, Configs: map[string]string{"retention.ms": "1000"},
			Partitions: []Assignment{{Leader: 1, Replicas: []id.Broker{1, 2, 3}}, {Leader: NoBroker, Replicas: []id.Broker{}}},
		},
		TopicCreated{Name: "short", ID: topicID(2), Partitions: []Assignment{{Leader: 2, Replicas: []id.Broker{2}}}},
		TopicDeleted{ID: topicID(2)},
		PartitionsAdded{ID: topicID(1), Partitions: led(2, 3)},
		ConfigChanged{Resource{ResourceTopic, "orders"}, map[string]*string{"a": text("1"), "b": nil}},
		ConfigChanged{Resource{ResourceGroup, "g"}, map[string]*string{"c": text("")}},
		BrokerRegistered{ID: 1, Incarnation: "x", Rack: "r", Endpoints: []Endpoint{{"PLAINTEXT", "localhost", 9092}}},
		BrokerRegistered{ID: 2, Incarnation: "y", Endpoints: []Endpoint{}},
		BrokerRemoved{ID: 2},
		LeadersChanged{Changes: []LeaderChange{
			{Partition: id.Partition{Topic: topicID(1), Index: 1}, Leader: 2, Epoch: 1, Replicas: []id.Broker{2, 1}},
			{Partition: id.Partition{Topic: topicID(9), Index: 0}, Leader: 2, Epoch: 1},
		}},
		LeadershipTaken{From: 1, To: 2},
		ProducerIDsAllocated{Broker: 1, First: 0, Count: 1000},
	}
}

func TestSlotRoundTrip(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range everyRecord() {
		seen[r.kind()] = true
	}
	require.Len(t, seen, len(recordTypes), "everyRecord misses one")
	for n := range len(everyRecord()) + 1 {
		records := everyRecord()[:n]
		payload, err := EncodeSlot(records)
		require.NoError(t, err)
		got, err := DecodeSlot(payload)
		require.NoError(t, err)
		require.Equal(t, records, got)
	}
}

func TestImageRoundTrip(t *testing.T) {
	m := NewImage("cluster", everyRecord()...)
	require.NotZero(t, m.Ignored())
	for _, m := range []*Image{m, {}, manyTopics(200, 4)} {
		b, err := encodeImage(m)
		require.NoError(t, err)
		got, err := decodeImage(b)
		require.NoError(t, err)
		require.Equal(t, m.Version(), got.Version())
		require.Equal(t, m.ClusterID(), got.ClusterID())
		require.JSONEq(t, describe(t, m), describe(t, got))
		require.Equal(t, m.topics, got.topics)
		require.Equal(t, m.brokers, got.brokers)
		require.Equal(t, m.configs, got.configs)
	}
}

// TestGolden: what older versions wrote is read for ever, and what this one writes does not change
// unnoticed. Compressed bodies may differ from one Go release to the next, so the
// golden files hold plain ones.
func TestGolden(t *testing.T) {
	records := everyRecord()
	json1, err := json.Marshal(NewImage("cluster", records...))
	require.NoError(t, err)
	for name, body := range map[string]string{"image-v1": string(json1), "slot-v1": slotJSON(t, records)} {
		file := filepath.Join("testdata", name+".json")
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(body), 0o600))
		}
		golden, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(golden), body)
		if name == "slot-v1" {
			framed, err := appendFrame(nil, slotMagic, golden)
			require.NoError(t, err)
			read, err := DecodeSlot(framed)
			require.NoError(t, err)
			require.Equal(t, records, read)
		}
	}

	slot, err := EncodeSlot([]Record{LeadershipTaken{From: 1, To: 2}})
	require.NoError(t, err)
	file := filepath.Join("testdata", "slot-v1.bin")
	if *update {
		require.NoError(t, os.WriteFile(file, slot, 0o600))
	}
	golden, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, golden, slot)
	require.Equal(t, `FBMS`, string(slot[:4]))
	require.Equal(t, `[{"t":"leadership-taken","v":1,"d":{"from":1,"to":2}}]`, string(slot[headerSize:]))
	require.Equal(t, uint32(len(slot)-headerSize), binary.LittleEndian.Uint32(slot[8:]))
}

func slotJSON(t *testing.T, records []Record) string {
	t.Helper()
	payload, err := EncodeSlot(records)
	require.NoError(t, err)
	body, err := decodeFrame(slotMagic, payload)
	require.NoError(t, err)
	return string(body)
}

func TestDecodeDamaged(t *testing.T) {
	for _, records := range [][]Record{{LeadershipTaken{From: 1, To: 2}}, everyRecord()} { // plain and compressed
		good, err := EncodeSlot(records)
		require.NoError(t, err)
		for at := range good {
			for bit := range 8 {
				bad := append([]byte{}, good...)
				bad[at] ^= 1 << bit
				_, err := DecodeSlot(bad)
				require.Error(t, err, "byte %d", at)
			}
			_, err := DecodeSlot(good[:at])
			require.ErrorIs(t, err, ErrCorrupt, "cut to %d bytes", at)
		}
		_, err = DecodeSlot(append(good, 0))
		require.ErrorIs(t, err, ErrCorrupt)
	}
}

func TestDecodeOtherVersions(t *testing.T) {
	for body, want := range map[string]error{
		`[{"t":"leadership-taken","v":2,"d":{}}]`:                        ErrNewer,
		`[{"t":"planet-moved","v":1,"d":{}}]`:                            ErrNewer,
		`[{"t":"leadership-taken","v":0,"d":{}}]`:                        ErrCorrupt,
		`[{"t":"leadership-taken","v":1}]`:                               ErrCorrupt,
		`[{"t":"leadership-taken","v":1,"d":[]}]`:                        ErrCorrupt,
		`[{"t":"topic-deleted","v":1,"d":{"id":"not an id"}}]`:           ErrCorrupt,
		`{"t":"leadership-taken"}`:                                       ErrCorrupt,
		`[`:                                                              ErrCorrupt,
		`[{"t":"leadership-taken","v":1,"d":{"from":1,"to":2,"new":3}}]`: nil,
	} {
		payload, err := appendFrame(nil, slotMagic, []byte(body))
		require.NoError(t, err)
		_, err = DecodeSlot(payload)
		require.ErrorIs(t, err, want, body)
	}
	newer, err := EncodeSlot(nil)
	require.NoError(t, err)
	newer[4]++
	_, err = DecodeSlot(newer)
	require.ErrorIs(t, err, ErrNewer)
}

func TestDecodeBadImage(t *testing.T) {
	topic := func(name, topic string) string {
		return fmt.Sprintf(`{"name":%q,"id":%q,"partitions":[{"l":1}]}`, name, topic)
	}
	one, two, none := topicID(1).String(), topicID(2).String(), id.Topic{}.String()
	for _, body := range []string{
		`[]`,
		`{"topics":[` + topic("b", one) + `,` + topic("a", two) + `]}`,
		`{"topics":[` + topic("a", one) + `,` + topic("a", two) + `]}`,
		`{"topics":[` + topic("a", one) + `,` + topic("b", one) + `]}`,
		`{"topics":[` + topic("", one) + `]}`,
		`{"topics":[` + topic("a", none) + `]}`,
		`{"topics":[{"name":"a","id":"` + one + `"}]}`,
		`{"brokers":[{"id":2},{"id":1}]}`,
		`{"brokers":[{"id":-2}]}`,
		`{"configs":[{"resource":{"type":"topic","name":"a"},"set":{"a":"1"}}]}`,
		`{"configs":[{"resource":{"type":"group","name":"a"},"set":{}}]}`,
		`{"configs":[{"resource":{"type":"group","name":"b"},"set":{"a":"1"}},{"resource":{"type":"group","name":"a"},"set":{"a":"1"}}]}`,
	} {
		b, err := appendFrame(nil, imageMagic, []byte(body))
		require.NoError(t, err)
		_, err = decodeImage(b)
		require.ErrorIs(t, err, ErrCorrupt, body)
	}
}

// TestBomb: a small payload that claims to be large is refused before memory is taken for it.
func TestBomb(t *testing.T) {
	payload, err := appendFrame(nil, slotMagic, []byte(strings.Repeat(" ", 1<<20)))
	require.NoError(t, err)
	binary.LittleEndian.PutUint32(payload[8:], 1<<31)
	binary.LittleEndian.PutUint32(payload[crcAt:], frameCRC(payload, payload[headerSize:]))
	_, err = DecodeSlot(payload)
	require.ErrorIs(t, err, ErrCorrupt)
}

// TestLargeChangesFitASlot: the largest changes that one request may ask for.
func TestLargeChangesFitASlot(t *testing.T) {
	assignments := make([]Assignment, 10_000)
	changes := make([]LeaderChange, 10_000)
	topics := make([]Record, 5_000)
	topic := id.NewTopic()
	for i := range assignments {
		b := func(n int) id.Broker { return id.Broker(i * 7919 % (n + i%5 + 1)) }
		assignments[i] = Assignment{Leader: b(10), Replicas: []id.Broker{b(10), b(11), b(12)}}
		changes[i] = LeaderChange{Partition: id.Partition{Topic: topic, Index: int32(i)}, Leader: b(10), Epoch: id.Epoch(i)}
	}
	for i := range topics {
		topics[i] = TopicCreated{Name: fmt.Sprintf("events.of.shop.%d", i), ID: id.NewTopic(), Partitions: led(1), ReplicationFactor: 1}
	}
	for name, records := range map[string][]Record{
		"topic of 10,000 partitions": {TopicCreated{Name: "wide", ID: topic, Partitions: assignments}},
		"10,000 leader changes":      {LeadersChanged{Changes: changes}},
		"5,000 topics":               topics,
	} {
		payload, err := EncodeSlot(records)
		require.NoError(t, err)
		t.Logf("%s: %d bytes", name, len(payload))
		require.Less(t, len(payload), kv.MaxValue, name)
		got, err := DecodeSlot(payload)
		require.NoError(t, err)
		require.Equal(t, records, got)
	}
}

// FuzzDecodeSlot: the decoder never panics, and what it accepts it writes and reads again alike, and folds.
func FuzzDecodeSlot(f *testing.F) {
	for n := range everyRecord() {
		body, err := json.Marshal(everyRecord()[n])
		require.NoError(f, err)
		f.Add([]byte(fmt.Sprintf(`[{"t":%q,"v":1,"d":%s}]`, everyRecord()[n].kind(), body)), false)
	}
	all, err := EncodeSlot(everyRecord())
	require.NoError(f, err)
	f.Add(all, true)
	f.Fuzz(func(t *testing.T, b []byte, framed bool) {
		if !framed { // gets the fuzzer past the checksum
			var err error
			b, err = appendFrame(nil, slotMagic, b)
			require.NoError(t, err)
		}
		records, err := DecodeSlot(b)
		if err != nil {
			return
		}
		again, err := EncodeSlot(records)
		require.NoError(t, err)
		reread, err := DecodeSlot(again)
		require.NoError(t, err)
		third, err := EncodeSlot(reread)
		require.NoError(t, err)
		require.Equal(t, again, third)
		m := fold(NewImage("c", everyRecord()...), []Slot{{2, reread}})
		checkImage(t, m)
		requireSnapshotEqual(t, m)
	})
}

func requireSnapshotEqual(t *testing.T, m *Image) {
	t.Helper()
	b, err := encodeImage(m)
	require.NoError(t, err)
	restored, err := decodeImage(b)
	require.NoError(t, err)
	require.Equal(t, describe(t, m), describe(t, restored))
}

// FuzzDecodeImage: the decoder never panics, and what it accepts is consistent and a snapshot again.
func FuzzDecodeImage(f *testing.F) {
	body, err := json.Marshal(NewImage("cluster", everyRecord()...))
	require.NoError(f, err)
	f.Add(body, false)
	b, err := encodeImage(manyTopics(20, 3))
	require.NoError(f, err)
	f.Add(b, true)
	f.Fuzz(func(t *testing.T, b []byte, framed bool) {
		if !framed {
			var err error
			b, err = appendFrame(nil, imageMagic, b)
			require.NoError(t, err)
		}
		m, err := decodeImage(b)
		if err != nil {
			return
		}
		checkImage(t, m)
		requireSnapshotEqual(t, m)
	})
}

// FuzzDecodePointer: the decoder never panics, and a pointer it accepts names a snapshot.
func FuzzDecodePointer(f *testing.F) {
	f.Add([]byte(`{"v":1,"current":{"version":7,"object":"metalog/7-x"},"previous":{"version":0,"object":""}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodePointer(b); err == nil {
			require.NotZero(t, p.Current.Version)
			require.NotEmpty(t, p.Current.Object)
		}
	})
}
