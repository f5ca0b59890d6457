package broker

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
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
			r := &fetchResponse{sessionID: 9, parts: []fetched{part("a", 0, 0, large, []byte("small")), part("a", 1, 3), part("a", 2, 0)}}
			r.SetVersion(version)
			r.parts[2].diverging = &divergingEpoch{epoch: 5, end: 17}

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
			require.Len(t, parts, 3)
			require.Equal(t, append(bytes.Clone(large), "small"...), parts[0].RecordBatches)
			require.Equal(t, int64(40), parts[0].HighWatermark)
			require.Equal(t, int64(30), parts[0].LastStableOffset)
			require.Equal(t, int16(3), parts[1].ErrorCode)
			if version >= 5 {
				require.Equal(t, int64(2), parts[1].LogStartOffset)
			}
			if version >= 12 {
				require.Equal(t, int32(5), parts[2].DivergingEpoch.Epoch)
				require.Equal(t, int64(17), parts[2].DivergingEpoch.EndOffset)
			}
			got.SetVersion(version)
			require.Len(t, encoded, len(got.AppendTo(nil)), "nothing is left behind the response")
		})
	}
}
