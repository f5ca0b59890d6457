package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
)

// fetchOf builds a request for partitions of topic "t" at offset 0.
func fetchOf(sessionID, epoch int32, partitions ...int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.SessionID, req.SessionEpoch = 12, sessionID, epoch
	t := kmsg.NewFetchRequestTopic()
	t.Topic = "t"
	for _, index := range partitions {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes = index, 100
		t.Partitions = append(t.Partitions, p)
	}
	if len(partitions) > 0 {
		req.Topics = append(req.Topics, t)
	}
	return req
}

func indexes(parts []*fetchPartition) (all []int32) {
	for _, p := range parts {
		all = append(all, p.index)
	}
	return all
}

func TestFetchSessionLife(t *testing.T) {
	var s fetchSessions
	now := time.Unix(0, 0)

	none, err := s.begin(fetchOf(0, epochFinal, 0, 1), now)
	require.Nil(t, err)
	require.Nil(t, none.session, "epoch -1 asks for no session")

	first, err := s.begin(fetchOf(0, epochInitial, 0, 1, 2), now)
	require.Nil(t, err)
	require.NotZero(t, first.id)
	require.False(t, first.incremental)

	next, err := s.begin(fetchOf(first.id, 1), now)
	require.Nil(t, err)
	require.True(t, next.incremental)
	require.Equal(t, []int32{0, 1, 2}, indexes(next.parts), "the session knows what an empty request means")

	_, err = s.begin(fetchOf(first.id, 1), now)
	require.Equal(t, kerr.InvalidFetchSessionEpoch, err, "an epoch is used once")
	_, err = s.begin(fetchOf(first.id+1, 2), now)
	require.Equal(t, kerr.FetchSessionIDNotFound, err)

	withIDs := fetchOf(first.id, 2)
	withIDs.Version = 13
	_, err = s.begin(withIDs, now)
	require.Equal(t, kerr.FetchSessionTopicIDError, err)

	changed := fetchOf(first.id, 2, 3)
	changed.Topics[0].Partitions[0].FetchOffset = 7
	changed.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", Partitions: []int32{1}}}
	got, err := s.begin(changed, now)
	require.Nil(t, err)
	require.Equal(t, []int32{0, 2, 3}, indexes(got.parts))
	require.Equal(t, id.Offset(7), got.parts[2].offset)

	ended, err := s.begin(fetchOf(first.id, epochFinal), now)
	require.Nil(t, err)
	require.Nil(t, ended.session)
	_, err = s.begin(fetchOf(first.id, 3), now)
	require.Equal(t, kerr.FetchSessionIDNotFound, err)
}

func TestFetchSessionEpochWraps(t *testing.T) {
	require.Equal(t, int32(2), nextSessionEpoch(1))
	require.Equal(t, int32(1), nextSessionEpoch(1<<31-1))
}

func TestFetchSessionServesLastWhatWasServed(t *testing.T) {
	var s fetchSessions
	got, err := s.begin(fetchOf(0, epochInitial, 0, 1, 2, 3), time.Unix(0, 0))
	require.Nil(t, err)
	got.session.serveLast(map[*fetchPartition]bool{got.parts[0].kept: true, got.parts[2].kept: true})
	require.Equal(t, []int32{1, 3, 0, 2}, indexes(got.session.parts))
}

func TestFetchSessionCacheEvictsOnlyTheOld(t *testing.T) {
	var s fetchSessions
	start := time.Unix(0, 0)
	oldest, err := s.begin(fetchOf(0, epochInitial, 0), start)
	require.Nil(t, err)
	for range maxFetchSessions - 1 {
		_, err := s.begin(fetchOf(0, epochInitial, 0), start.Add(time.Second))
		require.Nil(t, err)
	}
	full, err := s.begin(fetchOf(0, epochInitial, 0), start.Add(fetchSessionMinLife-time.Second))
	require.Nil(t, err)
	require.Nil(t, full.session, "no session is old enough to make room: the fetch is served without one")
	made, err := s.begin(fetchOf(0, epochInitial, 0), start.Add(fetchSessionMinLife))
	require.Nil(t, err)
	require.NotNil(t, made.session)
	_, err = s.begin(fetchOf(oldest.id, 1), start)
	require.Equal(t, kerr.FetchSessionIDNotFound, err, "the oldest has gone")
}
