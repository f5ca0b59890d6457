package broker

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/producers"
)

// TestFetchResponseIsWhatKmsgReads holds the encoder to the codec of the client, in every version.
func TestFetchResponseIsWhatKmsgReads(t *testing.T) {
	large := bytes.Repeat([]byte{7}, 5000)
	topic := id.NewTopic()
	part := func(name string, index int32, code int16, batches ...[]byte) fetched {
		f := fetched{
			want: &fetchPartition{fetchKey: fetchKey{topic: name, id: topic, index: index}},
			code: code, high: 40, stable: 30, start: 2, batches: batches,
		}
		for _, b := range batches {
			f.bytes += len(b)
		}
		return f
	}
	for version := int16(4); version <= 18; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			r := &fetchResponse{sessionID: 9, parts: []fetched{part("a", 0, 0, large, []byte("small")), part("a", 1, 3), part("a", 2, 0), part("a", 3, 6), part("a", 4, 74)}}
			r.SetVersion(version)
			r.parts[0].committed, r.parts[0].aborted = true, []producers.AbortedTxn{{Producer: 12, First: 3, Last: 9}, {Producer: 1 << 40, First: 5, Last: 8}}
			r.parts[1].committed, r.parts[2].committed = true, true
			r.parts[2].diverging = &divergingEpoch{epoch: 5, end: 17}
			if version >= fetchLeaderVersion {
				rack := "west"
				r.parts[3].leader = &currentLeader{id: 2, epoch: 7}
				r.parts[4].leader, r.parts[4].diverging = &currentLeader{id: 300, epoch: 8}, &divergingEpoch{epoch: 6, end: 18}
				r.nodes = []endpoint{{id: 2, host: "two", port: 9092}, {id: 300, host: "three", port: 65535, rack: &rack}}
			}

			got := kmsg.NewPtrFetchResponse()
			got.SetVersion(version)
			require.Equal(t, got.IsFlexible(), r.IsFlexible())
			encoded := r.AppendTo(nil)
			require.NoError(t, got.ReadFrom(encoded))

			require.Len(t, got.Topics, 1)
			if version >= 7 {
				require.Equal(t, int32(9), got.SessionID)
			}
			if version >= 13 {
				require.Equal(t, [16]byte(topic), got.Topics[0].TopicID)
			} else {
				require.Equal(t, "a", got.Topics[0].Topic)
			}
			parts := got.Topics[0].Partitions
			require.Len(t, parts, 5)
			require.Equal(t, append(bytes.Clone(large), "small"...), parts[0].RecordBatches)
			require.Equal(t, int64(40), parts[0].HighWatermark)
			require.Equal(t, int64(30), parts[0].LastStableOffset)
			require.Equal(t, []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 12, FirstOffset: 3}, {ProducerID: 1 << 40, FirstOffset: 5}}, parts[0].AbortedTransactions)
			require.Nil(t, parts[1].AbortedTransactions, "of an error")
			require.NotNil(t, parts[2].AbortedTransactions)
			require.Empty(t, parts[2].AbortedTransactions)
			require.Nil(t, parts[3].AbortedTransactions, "of a read of what is not committed")
			require.Equal(t, int16(3), parts[1].ErrorCode)
			if version >= 5 {
				require.Equal(t, int64(2), parts[1].LogStartOffset)
			}
			if version >= 12 {
				require.Equal(t, int32(5), parts[2].DivergingEpoch.Epoch)
				require.Equal(t, int64(17), parts[2].DivergingEpoch.EndOffset)
			}
			if version >= fetchLeaderVersion {
				require.Equal(t, kmsg.FetchResponseTopicPartitionCurrentLeader{LeaderID: 2, LeaderEpoch: 7}, parts[3].CurrentLeader)
				require.Equal(t, kmsg.FetchResponseTopicPartitionCurrentLeader{LeaderID: 300, LeaderEpoch: 8}, parts[4].CurrentLeader)
				require.Equal(t, kmsg.FetchResponseTopicPartitionDivergingEpoch{Epoch: 6, EndOffset: 18}, parts[4].DivergingEpoch)
				require.Equal(t, []kmsg.FetchResponseBroker{{NodeID: 2, Host: "two", Port: 9092}, {NodeID: 300, Host: "three", Port: 65535, Rack: r.nodes[1].rack}}, got.Brokers)
			} else {
				require.Equal(t, int32(-1), parts[3].CurrentLeader.LeaderID)
				require.Empty(t, got.Brokers)
			}
			got.SetVersion(version)
			require.Len(t, encoded, len(got.AppendTo(nil)), "nothing is left behind the response")
		})
	}
}
