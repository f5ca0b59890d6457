package broker

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/tiering/batch"
)

// listOffset asks for one partition at a leader epoch, -1 for none.
func (n *node) listOffset(version int16, isolation int8, topic string, index, epoch int32, timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	n.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(version)
	req.IsolationLevel = isolation
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.Timestamp = index, epoch, timestamp
	req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
	resp := ask(n, req, kmsg.NewPtrListOffsetsResponse())
	require.Len(n.t, resp.Topics, 1)
	require.Equal(n.t, topic, resp.Topics[0].Topic)
	require.Len(n.t, resp.Topics[0].Partitions, 1)
	require.Equal(n.t, index, resp.Topics[0].Partitions[0].Partition)
	return resp.Topics[0].Partitions[0]
}

// found is an offset and its time, and nowhere is none.
type found [2]int64

var nowhere = found{-1, -1}

// tier is how far the records have gone, and what that changes.
type tier struct {
	name                    string
	place                   func(n *node)
	local, tiered, unsealed int64
}

// timed produces batches with times out of order. Its records are
//
//	offset  0   1   2 |  3   4 | 5 |  6   7
//	time   10  30  20 | 40  40 | 5 | 35  40
func timed(n *node, from, to int) {
	all := []batch.View{batchAt(batch.None, 10, 30, 20), batchAt(batch.Gzip, 40, 40), batchAt(batch.Zstd, 5), batchAt(batch.None, 35, 40)}
	n.mustProduce("t", 0, all[from:to]...)
}

func tiers() []tier {
	seal := func(n *node) { require.NoError(n.t, n.storage.sealer.SealAll(n.t.Context())) }
	return []tier{
		{"hot", func(n *node) { timed(n, 0, 4) }, 0, -1, 0},
		{"packs", func(n *node) { timed(n, 0, 4); seal(n) }, 8, 7, 8},
		{"several packs", func(n *node) {
			timed(n, 0, 1)
			seal(n)
			timed(n, 1, 3)
			seal(n)
			timed(n, 3, 4)
			seal(n)
		}, 8, 7, 8},
		{"packs and hot", func(n *node) { timed(n, 0, 2); seal(n); timed(n, 2, 4) }, 5, 4, 5},
	}
}

// Times are looked up in whichever tier they are, and so are the special offsets.
func TestListOffsets(t *testing.T) {
	for _, tier := range tiers() {
		t.Run(tier.name, func(t *testing.T) {
			n := startNode(t, func(cfg *Config) { cfg.Storage.HotBytes = 1 })
			n.mustCreate(wantTopic("t", 1, 1))
			tier.place(n)
			wants := map[int64]found{
				-1: {8, -1}, -2: {0, -1},
				0: {0, 10}, 10: {0, 10}, 11: {1, 30}, 30: {1, 30}, 31: {3, 40}, 40: {3, 40}, 41: nowhere, 1 << 60: nowhere,
			}
			for version := int16(1); version <= 11; version++ {
				special(wants, version, tier)
				for isolation := int8(0); isolation <= 1; isolation++ {
					for timestamp, want := range wants {
						got := n.listOffset(version, isolation, "t", 0, 0, timestamp)
						require.Zero(t, got.ErrorCode)
						require.Equal(t, want, found{got.Offset, got.Timestamp}, "version %d, timestamp %d", version, timestamp)
						if version >= 4 {
							require.Equal(t, want != nowhere, got.LeaderEpoch == 0)
						}
					}
				}
			}
		})
	}
}

// special adds what a version means by its negative timestamps.
func special(wants map[int64]found, version int16, tier tier) {
	if version >= 7 {
		wants[-3] = found{3, 40}
	}
	if version >= 8 {
		wants[-4] = found{tier.local, -1}
	}
	if version >= 9 {
		wants[-5] = found{tier.tiered, -1}
	}
	if version >= 11 {
		wants[-6] = found{tier.unsealed, -1}
	}
}

func TestListOffsetsOfAnEmptyLog(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	for timestamp, want := range map[int64]found{-1: {0, -1}, -2: {0, -1}, -3: nowhere, -4: {0, -1}, -5: nowhere, -6: {0, -1}, 0: nowhere, 5: nowhere} {
		got := n.listOffset(11, 0, "t", 0, -1, timestamp)
		require.Zero(t, got.ErrorCode)
		require.Equal(t, want, found{got.Offset, got.Timestamp}, "timestamp %d", timestamp)
	}
}

// With LogAppendTime all records of a batch have its time.
func TestListOffsetsByLogAppendTime(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1, with("message.timestamp.type", value("LogAppendTime"))))
	n.mustProduce("t", 0, batchAt(batch.None, 1, 2))
	second := n.produce(9, -1, put{"t", 0, batchAt(batch.Gzip, 3, 4)})[0]
	require.Equal(t, int64(0), n.listOffset(11, 0, "t", 0, -1, 4).Offset, "the producer's times do not count")
	latest := n.listOffset(11, 0, "t", 0, -1, second.LogAppendTime)
	require.Equal(t, second.LogAppendTime, latest.Timestamp)
	require.Contains(t, []int64{0, 2}, latest.Offset, "the first batch may have come in the same millisecond")
	require.Equal(t, int64(-1), n.listOffset(11, 0, "t", 0, -1, second.LogAppendTime+1).Offset)
}

func TestListOffsetsErrors(t *testing.T) {
	n := restarted(t, func(n *node) {
		n.mustCreate(wantTopic("t", 1, 1))
		timed(n, 0, 2)
	})
	timed(n, 2, 4)
	for _, tc := range []struct {
		version      int16
		topic        string
		index, epoch int32
		timestamp    int64
		want         *kerr.Error
	}{
		{11, "none", 0, -1, -1, kerr.UnknownTopicOrPartition},
		{11, "t", 1, -1, -1, kerr.UnknownTopicOrPartition},
		{11, "t", -1, -1, -1, kerr.UnknownTopicOrPartition},
		{4, "t", 0, 0, -1, kerr.FencedLeaderEpoch},
		{4, "t", 0, -2, -1, kerr.FencedLeaderEpoch},
		{11, "t", 0, 2, 10, kerr.UnknownLeaderEpoch},
		{3, "t", 0, 0, -1, nil}, // has no epoch to check
		{6, "t", 0, -1, -3, kerr.UnsupportedVersion},
		{7, "t", 0, -1, -4, kerr.UnsupportedVersion},
		{8, "t", 0, -1, -5, kerr.UnsupportedVersion},
		{10, "t", 0, -1, -6, kerr.UnsupportedVersion},
		{11, "t", 0, -1, -7, kerr.UnsupportedVersion},
	} {
		t.Run(fmt.Sprintf("%+v", tc), func(t *testing.T) {
			n := &node{Broker: n.Broker, t: t}
			got := n.listOffset(tc.version, 0, tc.topic, tc.index, tc.epoch, tc.timestamp)
			require.Equal(t, tc.want, errorOf(got.ErrorCode))
			if tc.want != nil {
				require.Equal(t, []int64{-1, -1}, []int64{got.Offset, got.Timestamp})
				require.Equal(t, int32(-1), got.LeaderEpoch)
			}
		})
	}
	require.Equal(t, int32(0), n.listOffset(11, 0, "t", 0, 1, 10).LeaderEpoch, "the epoch of the record")
	require.Equal(t, int32(1), n.listOffset(11, 0, "t", 0, 1, -1).LeaderEpoch)
}

// An administrator's client agrees with all of it.
func TestListOffsetsByClient(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 2, 1))
	timed(n, 0, 4)
	adm := n.admin()
	for offset, list := range map[int64]func() (kadm.ListedOffsets, error){
		0: func() (kadm.ListedOffsets, error) { return adm.ListStartOffsets(t.Context(), "t") },
		8: func() (kadm.ListedOffsets, error) { return adm.ListEndOffsets(t.Context(), "t") },
		3: func() (kadm.ListedOffsets, error) { return adm.ListMaxTimestampOffsets(t.Context(), "t") },
		1: func() (kadm.ListedOffsets, error) {
			return adm.ListOffsetsAfterMilli(t.Context(), 11, "t")
		},
	} {
		listed, err := list()
		require.NoError(t, err)
		require.NoError(t, listed.Error())
		got, ok := listed.Lookup("t", 0)
		require.True(t, ok)
		require.Equal(t, offset, got.Offset)
	}
}

// A partition that is named twice is refused, and the others are answered.
func TestListOffsetsNamedTwice(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 2, 1))
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = 7, -1
	for _, indexes := range [][]int32{{0, 1}, {1}} {
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = "t"
		for _, i := range indexes {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp = i, timeLatest
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	}
	resp := ask(n, req, kmsg.NewPtrListOffsetsResponse())
	require.Zero(t, resp.Topics[0].Partitions[0].ErrorCode)
	require.Zero(t, resp.Topics[0].Partitions[0].Offset)
	for _, p := range []kmsg.ListOffsetsResponseTopicPartition{resp.Topics[0].Partitions[1], resp.Topics[1].Partitions[0]} {
		require.Equal(t, kerr.InvalidRequest.Code, p.ErrorCode)
		require.EqualValues(t, -1, p.Offset)
	}
}
