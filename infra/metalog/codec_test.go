package metalog

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
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
		BrokerRegisteredV1{ID: 3, Incarnation: "z", Rack: "s", Endpoints: []Endpoint{}},
		BrokerFenced{ID: 3, Session: "z"},
		BrokerRemoved{ID: 2},
		LeadersChanged{Changes: []LeaderChange{
			{Partition: id.Partition{Topic: topicID(1), Index: 1}, Leader: 2, Epoch: 1, Replicas: []id.Broker{2, 1}},
			{Partition: id.Partition{Topic: topicID(9), Index: 0}, Leader: 2, Epoch: 1},
		}, Tail: &Tail{Session: "y", Through: 7}},
		LeadershipTaken{From: 1, To: 2, Tail: &Tail{Session: "x", Through: 8}},
		BrokerRegistered{ID: 1, Incarnation: "v", Endpoints: []Endpoint{}},
		StreamsReleased{Sessions: []id.Session{"y", "w"}},
		TargetsSet{Targets: []PartitionTarget{
			{Partition: id.Partition{Topic: topicID(1), Index: 3}, Target: 1},
			{Partition: id.Partition{Topic: topicID(1), Index: 2}, Target: NoBroker},
		}},
		ReplicasChanged{Changes: []ReplicasChange{{Partition: id.Partition{Topic: topicID(1), Index: 2}, Replicas: []id.Broker{1, 2}}}},
		LogStartsMoved{Moves: []StartMove{
			{Partition: id.Partition{Topic: topicID(1), Index: 1}, Epoch: 2, Start: 5},
			{Partition: id.Partition{Topic: topicID(1), Index: 2}, Epoch: 9, Start: 6},
		}},
		FeatureFinalized{Name: "transaction.version", Level: 1},
		FinalizeLevel(2),
		ProducerIDsAllocated{Broker: 1, First: 0, Count: 1000},
		Audited{
			At: 1700000000000, By: "User:alice", Via: Via{API: "CreateTopics", Client: "admin-1", Address: "10.0.0.1"},
			Action: "topic.create", Resource: Resource{ResourceTopic, "orders"}, Records: 1, Key: "k1", Digest: "d1",
		},
		Audited{At: 1700000000001, By: "User:bob", Action: "topic.delete", Resource: Resource{ResourceTopic, "short"}},
	}
}

func TestSlotRoundTrip(t *testing.T) {
	seen, known := map[reflect.Type]bool{}, map[reflect.Type]bool{}
	for _, r := range everyRecord() {
		seen[reflect.TypeOf(r)] = true
	}
	for _, typ := range recordTypes {
		known[typ] = true
	}
	require.Equal(t, known, seen, "everyRecord misses one")
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
	require.NotEmpty(t, m.Streams())
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
		require.Equal(t, m.streams, got.streams)
		require.Equal(t, m.configs, got.configs)
		require.Equal(t, m.features, got.features)
		require.Equal(t, m.keys, got.keys)
	}
}

// TestGolden: what this version writes does not change unnoticed. Compressed bodies may
// differ from one Go release to the next, so the golden files hold plain ones.
func TestGolden(t *testing.T) {
	records := everyRecord()
	image, err := json.Marshal(NewImage("cluster", records...))
	require.NoError(t, err)
	golden(t, "image-v4-level.json", image)
	golden(t, "slot-v4-level.json", []byte(slotJSON(t, records)))
	slot, err := EncodeSlot([]Record{LeadershipTaken{From: 1, To: 2}})
	require.NoError(t, err)
	golden(t, "slot-v2.bin", slot)
	require.Equal(t, `FBMS`, string(slot[:4]))
	require.Equal(t, `[{"t":"leadership-taken","v":2,"d":{"from":1,"to":2}}]`, string(slot[headerSize:]))
	require.Equal(t, uint32(len(slot)-headerSize), binary.LittleEndian.Uint32(slot[8:]))
}

// golden compares with a golden file, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(file, got, 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

// TestGoldenV1: what version 1 wrote is read, and a broker that it registered has no stream.
func TestGoldenV1(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		return b
	}
	framed, err := appendFrame(nil, slotMagic, 1, read("slot-v1.json"))
	require.NoError(t, err)
	records, err := DecodeSlot(framed)
	require.NoError(t, err)
	require.Contains(t, records, Record(BrokerRegisteredV1{ID: 2, Incarnation: "y", Endpoints: []Endpoint{}}))
	require.Contains(t, records, Record(LeadershipTaken{From: 1, To: 2}))
	folded := NewImage("cluster", records[1:]...)
	require.Empty(t, folded.Streams())

	framed, err = appendFrame(nil, imageMagic, 1, read("image-v1.json"))
	require.NoError(t, err)
	image, err := decodeImage(framed)
	require.NoError(t, err)
	require.Equal(t, folded.topics, image.topics)
	require.Equal(t, folded.brokers, image.brokers)
	state, ok := image.Partition(part(1, 0))
	require.True(t, ok)
	require.Equal(t, NoBroker, state.Target)
	require.Empty(t, state.Tails)

	records, err = DecodeSlot(read("slot-v1.bin"))
	require.NoError(t, err)
	require.Equal(t, []Record{LeadershipTaken{From: 1, To: 2}}, records)
}

// TestGoldenV2: what version 2 wrote is read, and no log start was moved in it.
func TestGoldenV2(t *testing.T) {
	body, err := os.ReadFile(filepath.Join("testdata", "image-v2.json"))
	require.NoError(t, err)
	framed, err := appendFrame(nil, imageMagic, 2, body)
	require.NoError(t, err)
	image, err := decodeImage(framed)
	require.NoError(t, err)
	require.NotEmpty(t, image.topics)
	require.Zero(t, state(t, image, part(1, 1)).Start)

	body, err = os.ReadFile(filepath.Join("testdata", "slot-v2.json"))
	require.NoError(t, err)
	framed, err = appendFrame(nil, slotMagic, 1, body)
	require.NoError(t, err)
	records, err := DecodeSlot(framed)
	require.NoError(t, err)
	require.Equal(t, image.topics, NewImage("cluster", records[1:]...).topics)
}

// TestGoldenV3: what version 3 wrote is read, and has no idempotency keys.
func TestGoldenV3(t *testing.T) {
	body, err := os.ReadFile(filepath.Join("testdata", "image-v3.json"))
	require.NoError(t, err)
	framed, err := appendFrame(nil, imageMagic, 3, body)
	require.NoError(t, err)
	image, err := decodeImage(framed)
	require.NoError(t, err)
	require.Empty(t, image.keys)
	level, set := image.Feature("transaction.version")
	require.True(t, set)
	require.Equal(t, int16(1), level)

	body, err = os.ReadFile(filepath.Join("testdata", "slot-v3.json"))
	require.NoError(t, err)
	framed, err = appendFrame(nil, slotMagic, 1, body)
	require.NoError(t, err)
	records, err := DecodeSlot(framed)
	require.NoError(t, err)
	require.Equal(t, image.topics, NewImage("cluster", records[1:]...).topics)
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
		`[{"t":"leadership-taken","v":3,"d":{}}]`:                        ErrNewer,
		`[{"t":"topic-deleted","v":2,"d":{}}]`:                           ErrNewer,
		`[{"t":"leadership-taken","v":-1,"d":{}}]`:                       ErrCorrupt,
		`[{"t":"planet-moved","v":1,"d":{}}]`:                            ErrNewer,
		`[{"t":"leadership-taken","v":0,"d":{}}]`:                        ErrCorrupt,
		`[{"t":"leadership-taken","v":1}]`:                               ErrCorrupt,
		`[{"t":"leadership-taken","v":1,"d":[]}]`:                        ErrCorrupt,
		`[{"t":"topic-deleted","v":1,"d":{"id":"not an id"}}]`:           ErrCorrupt,
		`[{"t":"targets-set","v":1,"d":{"targets":[{"topic":"x"}]}}]`:    ErrCorrupt,
		`{"t":"leadership-taken"}`:                                       ErrCorrupt,
		`[`:                                                              ErrCorrupt,
		`[{"t":"leadership-taken","v":1,"d":{"from":1,"to":2,"new":3}}]`: nil,
	} {
		payload, err := appendFrame(nil, slotMagic, 1, []byte(body))
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
		`{"streams":[{"session":"a","node":1},{"session":"a","node":2}]}`,
		`{"streams":[{"node":1}]}`,
		`{"keys":[{"key":"a","by":"b"},{"key":"a","by":"b"}]}`,
		`{"keys":[{"by":"b"}]}`,
		`{"configs":[{"resource":{"type":"topic","name":"a"},"set":{"a":"1"}}]}`,
		`{"configs":[{"resource":{"type":"group","name":"a"},"set":{}}]}`,
		`{"configs":[{"resource":{"type":"group","name":"b"},"set":{"a":"1"}},{"resource":{"type":"group","name":"a"},"set":{"a":"1"}}]}`,
	} {
		b, err := appendFrame(nil, imageMagic, 4, []byte(body))
		require.NoError(t, err)
		_, err = decodeImage(b)
		require.ErrorIs(t, err, ErrCorrupt, body)
	}
}

// TestBomb: a small payload that claims to be large is refused before memory is taken for it.
func TestBomb(t *testing.T) {
	payload, err := appendFrame(nil, slotMagic, 1, []byte(strings.Repeat(" ", 1<<20)))
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
	targets := make([]PartitionTarget, 10_000)
	topics := make([]Record, 5_000)
	topic := id.NewTopic()
	for i := range assignments {
		b := func(n int) id.Broker { return id.Broker(i * 7919 % (n + i%5 + 1)) }
		assignments[i] = Assignment{Leader: b(10), Replicas: []id.Broker{b(10), b(11), b(12)}}
		changes[i] = LeaderChange{Partition: id.Partition{Topic: topic, Index: int32(i)}, Leader: b(10), Epoch: id.Epoch(i)}
		targets[i] = PartitionTarget{Partition: changes[i].Partition, Target: b(10)}
	}
	for i := range topics {
		topics[i] = TopicCreated{Name: fmt.Sprintf("events.of.shop.%d", i), ID: id.NewTopic(), Partitions: led(1), ReplicationFactor: 1}
	}
	for name, records := range map[string][]Record{
		"topic of 10,000 partitions": {TopicCreated{Name: "wide", ID: topic, Partitions: assignments}},
		"10,000 leader changes":      {LeadersChanged{Changes: changes, Tail: &Tail{Session: id.NewSession(), Through: 1 << 40}}},
		"10,000 targets":             {TargetsSet{Targets: targets}},
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
		k := everyRecord()[n].kind()
		f.Add([]byte(fmt.Sprintf(`[{"t":%q,"v":%d,"d":%s}]`, k.name, k.version, body)), false)
	}
	all, err := EncodeSlot(everyRecord())
	require.NoError(f, err)
	f.Add(all, true)
	f.Fuzz(func(t *testing.T, b []byte, framed bool) {
		if !framed { // gets the fuzzer past the checksum
			var err error
			b, err = appendFrame(nil, slotMagic, 1, b)
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
			b, err = appendFrame(nil, imageMagic, 4, b)
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
