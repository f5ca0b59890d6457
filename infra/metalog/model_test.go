package metalog

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
)

// TestModel: whatever brokers append, snapshot, lag and open again, every Log that is
// up to date has the same Image, through snapshots or from the first slot, and it is
// that of a plain fold of all records one at a time.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newCluster()
		const brokers = 3
		logs := make([]*Log, brokers)
		open := func(i int) {
			var err error
			logs[i], err = Open(ctx, Options{Store: c.store, Objects: c.objects, SnapshotEvery: 1 << 40, KeepSlots: 2})
			require.NoError(rt, err)
		}
		for i := range logs {
			open(i)
		}
		defer func() {
			for _, l := range logs {
				require.NoError(rt, l.Close(context.Background()))
			}
		}()
		model := &Image{}
		fold1 := func(records ...Record) {
			payload, err := EncodeSlot(records)
			require.NoError(rt, err)
			decoded, err := DecodeSlot(payload)
			require.NoError(rt, err)
			model = fold(model, []Slot{{model.version + 1, decoded}})
		}
		fold1(ClusterCreated{ID: logs[0].Image().ClusterID()}, FinalizeLevel(LatestLevel))

		any := rapid.IntRange(0, brokers-1)
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				records := rapid.SliceOfN(rapid.Custom(drawRecord), 1, 5).Draw(rt, "records")
				_, err := logs[any.Draw(rt, "broker")].Update(ctx, func(*Image) ([]Record, error) { return records, nil })
				require.NoError(rt, err)
				fold1(records...)
			},
			"refresh":  func(rt *rapid.T) { require.NoError(rt, logs[any.Draw(rt, "broker")].Refresh(ctx)) },
			"snapshot": func(rt *rapid.T) { require.NoError(rt, logs[any.Draw(rt, "broker")].Snapshot(ctx)) },
			"open again": func(rt *rapid.T) {
				i := any.Draw(rt, "broker")
				require.NoError(rt, logs[i].Close(ctx))
				open(i)
			},
			"": func(rt *rapid.T) {
				m, err := Load(ctx, c.store, c.objects)
				require.NoError(rt, err)
				requireEqualImages(t, model, m)
				requireWholeHistory(rt, c, model.Version())
				for _, l := range logs {
					require.LessOrEqual(rt, l.Image().Version(), model.Version())
				}
			},
		})
		for _, l := range logs {
			require.NoError(rt, l.Refresh(ctx))
			requireEqualImages(t, model, l.Image())
		}
	})
}

// drawRecord draws from few names and ids, so that records meet and miss each other.
func drawRecord(rt *rapid.T) Record {
	small := func(label string, most int) int { return rapid.IntRange(0, most).Draw(rt, label) }
	topic := func() id.Topic {
		if n := small("topic", 5); n > 0 {
			return topicID(n * 7)
		}
		return id.Topic{}
	}
	broker := func() id.Broker { return id.Broker(small("broker", 3) - 1) }
	session := func() id.Session { return id.Session(rapid.StringMatching("[a-d]?").Draw(rt, "session")) }
	tail := func() *Tail {
		if small("tail", 1) == 0 {
			return nil
		}
		return &Tail{Session: session(), Through: uint64(small("through", 3))}
	}
	partition := func() id.Partition {
		return id.Partition{Topic: topic(), Index: int32(small("index", 4) - 1)}
	}
	assignments := func() []Assignment {
		as := make([]Assignment, small("partitions", 4))
		for i := range as {
			as[i] = Assignment{Leader: broker(), Replicas: []id.Broker{broker()}}
		}
		return as
	}
	switch small("kind", 17) {
	case 0, 1:
		r := TopicCreated{Name: fmt.Sprint("t", small("name", 4)), ID: topic(), Partitions: assignments(), ReplicationFactor: 1}
		if small("configured", 1) == 1 {
			r.Configs = map[string]string{"a": "1"}
		}
		return r
	case 2:
		return TopicDeleted{ID: topic()}
	case 3:
		return PartitionsAdded{ID: topic(), Partitions: assignments()}
	case 4:
		types := []ResourceType{ResourceTopic, ResourceBroker, ResourceGroup, "planet"}
		r := ConfigChanged{Resource{types[small("type", 3)], fmt.Sprint("t", small("name", 4))}, map[string]*string{}}
		for range small("configs", 2) {
			r.Set[fmt.Sprint(small("config", 2))] = rapid.Ptr(rapid.StringMatching("[a-c]?"), true).Draw(rt, "value")
		}
		return r
	case 5:
		return BrokerRegistered{ID: broker(), Incarnation: session(), Endpoints: []Endpoint{{"L", "h", 1}}}
	case 6:
		return BrokerRemoved{ID: broker()}
	case 7:
		changes := make([]LeaderChange, small("changes", 3))
		for i := range changes {
			changes[i] = LeaderChange{Partition: partition(), Leader: broker(), Epoch: id.Epoch(small("epoch", 3))}
		}
		return LeadersChanged{Changes: changes, Tail: tail()}
	case 8:
		return LeadershipTaken{From: broker(), To: broker(), Tail: tail()}
	case 9:
		return BrokerRegisteredV1{ID: broker(), Incarnation: session()}
	case 10:
		return BrokerFenced{ID: broker(), Session: session()}
	case 11:
		return StreamsReleased{Sessions: []id.Session{session(), session()}}
	case 12:
		return TargetsSet{Targets: []PartitionTarget{{partition(), broker()}, {partition(), broker()}}}
	case 13:
		return ReplicasChanged{Changes: []ReplicasChange{{partition(), []id.Broker{broker(), broker()}[:small("replicas", 2)]}}}
	case 14:
		return LogStartsMoved{Moves: []StartMove{{partition(), id.Epoch(small("epoch", 3)), id.Offset(small("start", 3))}}}
	case 16:
		return Audited{
			At: int64(small("at", 3)) * 20 * 3600 * 1000, By: "u", Action: rapid.StringMatching("[ab]?").Draw(rt, "action"),
			Key: rapid.StringMatching("[a-e]?").Draw(rt, "key"),
		}
	case 15:
		return FeatureFinalized{Name: fmt.Sprint("f", small("name", 2)), Level: int16(small("level", 3))}
	default:
		return ProducerIDsAllocated{Broker: broker(), First: int64(small("first", 3)), Count: int64(small("count", 2))}
	}
}
