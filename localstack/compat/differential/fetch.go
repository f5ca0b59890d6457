package differential

import (
	"fmt"
	"math"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var fetchScenarios = []scenario{
	{"versions", fetchVersions},
	{"out of range", fetchOutOfRange},
	{"limits", fetchLimits},
	{"leader epochs", fetchLeaderEpochs},
	{"unknown", fetchUnknown},
	{"sessions", fetchSessions},
	{"sessions with changes", fetchSessionChanges},
	{"sessions with ids", fetchSessionIDs},
	{"waiting", fetchWaiting},
	{"as a replica", fetchReplica},
	{"isolation", fetchIsolation},
	{"diverging epoch", fetchDiverging},
}

func fetchVersions(s *session) {
	topic := s.topic("t", 1)
	s.fill(topic, 0, newBatch("a", "b"))
	s.fill(topic, 0, newBatch("c"))
	id := s.topicID(topic)
	for version := int16(0); version <= 18; version++ {
		req := fetch(version, topic, 0, 1)
		req.Topics[0].TopicID = id
		s.send(req)
	}
}

func fetchOutOfRange(s *session) {
	topic := s.topic("t", 1)
	for _, offset := range []int64{0, 1} {
		s.send(fetch(12, topic, 0, offset))
	}
	s.fill(topic, 0, newBatch("a", "b", "c"))
	for _, offset := range []int64{-1, -2, math.MinInt64, 0, 1, 2, 3, 4, math.MaxInt64} {
		s.send(fetch(12, topic, 0, offset))
	}
	must(s, deleteRecords(2, topic, 0, 2), func(r *kmsg.DeleteRecordsResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	for _, offset := range []int64{0, 1, 2} {
		s.send(fetch(12, topic, 0, offset))
	}
}

func fetchLimits(s *session) {
	topic := s.topic("t", 2)
	for partition := range int32(2) {
		for _, v := range []string{"a", "b", "c"} {
			s.fill(topic, partition, newBatch(strings.Repeat(v, 500)))
		}
	}
	for _, c := range []struct{ partition, total int32 }{
		{0, 1 << 20},
		{1, 1 << 20},
		{-1, 1 << 20},
		{math.MinInt32, 1 << 20},
		{600, 1 << 20},
		{1200, 1 << 20},
		{1 << 20, 0},
		{1 << 20, 1},
		{1 << 20, -1},
		{1 << 20, 600},
		{1 << 20, 1800},
		{1 << 20, 2400},
		{0, 0},
		{600, 1200},
	} {
		req := fetch(12, topic, 0, 0)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, fetchTopic(topic, 1, 1).Partitions...)
		req.MaxBytes = c.total
		for i := range req.Topics[0].Partitions {
			req.Topics[0].Partitions[i].PartitionMaxBytes = c.partition
		}
		resp := do[*kmsg.FetchResponse](s.quiet(), req)
		for _, t := range resp.Topics { // Kafka cuts the last batch off where a limit ends it: no client reads it
			for _, p := range t.Partitions {
				s.note(fmt.Sprintf("limits %d and %d, partition %d", c.partition, c.total, p.Partition),
					errorName(p.ErrorCode)+" "+s.canon.batches(p.RecordBatches))
			}
		}
	}
}

func fetchLeaderEpochs(s *session) {
	topic := s.topic("t", 1)
	s.fill(topic, 0, newBatch("a"))
	for _, epoch := range []int32{-1, 0, 1, 5, -2, math.MaxInt32} {
		req := fetch(12, topic, 0, 0)
		part(req).CurrentLeaderEpoch = epoch
		s.send(req)
	}
}

func fetchUnknown(s *session) {
	topic := s.topic("t", 1)
	for _, version := range []int16{4, 7, 11, 12} {
		s.send(fetch(version, s.name("unknown"), 0, 0))
		for _, partition := range []int32{1, -1} {
			s.send(fetch(version, topic, partition, 0))
		}
		s.send(fetch(version, "bad name", 0, 0))
		s.send(fetch(version, "", 0, 0))
	}
	for _, id := range [][16]byte{{}, {9, 9, 9}} {
		req := fetch(13, "", 0, 0)
		req.Topics[0].TopicID = id
		s.send(req)
	}
	req := fetch(13, "", 7, 0)
	req.Topics[0].TopicID = s.topicID(topic)
	s.send(req)
	none := fetch(12, topic, 0, 0)
	none.Topics = nil
	s.send(none)
}

// sessionFetch is a fetch in a session.
func sessionFetch(version int16, id, epoch int32, topics ...kmsg.FetchRequestTopic) *kmsg.FetchRequest {
	req := fetch(version, "", 0, 0)
	req.SessionID, req.SessionEpoch, req.Topics = id, epoch, topics
	return req
}

func fetchSessions(s *session) {
	topic := s.topic("t", 1)
	s.fill(topic, 0, newBatch("a", "b"))
	first := do[*kmsg.FetchResponse](s, sessionFetch(12, 0, 0, fetchTopic(topic, 0, 0)))
	id := first.SessionID
	s.send(sessionFetch(12, id, 1))
	s.send(sessionFetch(12, id, 1))
	s.send(sessionFetch(12, id, 3))
	s.send(sessionFetch(12, id, 2, fetchTopic(topic, 0, 2)))
	s.send(sessionFetch(12, id, 3))
	s.send(sessionFetch(12, id+1, 1))
	s.send(sessionFetch(12, 12345678, 7))
	s.send(sessionFetch(12, id, -2))
	s.send(sessionFetch(12, id, -1, fetchTopic(topic, 0, 0)))
	s.send(sessionFetch(12, id, 4))
	s.send(sessionFetch(12, 0, 5))
	s.send(sessionFetch(12, 0, 0))
	again := do[*kmsg.FetchResponse](s, sessionFetch(12, 0, 0, fetchTopic(topic, 0, 0)))
	s.send(sessionFetch(12, again.SessionID, 0, fetchTopic(topic, 0, 1)))
	s.send(sessionFetch(12, again.SessionID, 1))
}

func fetchSessionChanges(s *session) {
	topic := s.topic("t", 3)
	full := fetchTopic(topic, 0, 0)
	full.Partitions = append(full.Partitions, fetchTopic(topic, 1, 0).Partitions...)
	full.Partitions = append(full.Partitions, fetchTopic(topic, 7, 0).Partitions...)
	id := do[*kmsg.FetchResponse](s, sessionFetch(12, 0, 0, full, fetchTopic(s.name("unknown"), 0, 0))).SessionID
	s.send(sessionFetch(12, id, 1))
	s.fill(topic, 1, newBatch("a"))
	s.send(sessionFetch(12, id, 2))
	s.send(sessionFetch(12, id, 3, fetchTopic(topic, 1, 1)))
	s.send(sessionFetch(12, id, 4, fetchTopic(topic, 2, 0)))
	s.fill(topic, 2, newBatch("b"))
	req := sessionFetch(12, id, 5)
	forget := kmsg.NewFetchRequestForgottenTopic()
	forget.Topic, forget.Partitions = topic, []int32{2, 9}
	req.ForgottenTopics = append(req.ForgottenTopics, forget)
	s.send(req)
	s.send(sessionFetch(12, id, 6, fetchTopic(topic, 1, 99)))
	s.send(sessionFetch(12, id, 7))
}

func fetchSessionIDs(s *session) {
	topic := s.topic("t", 1)
	s.fill(topic, 0, newBatch("a"))
	byID := fetchTopic("", 0, 0)
	byID.TopicID = s.topicID(topic)
	id := do[*kmsg.FetchResponse](s, sessionFetch(13, 0, 0, byID)).SessionID
	s.send(sessionFetch(13, id, 1))
	s.send(sessionFetch(12, id, 2, fetchTopic(topic, 0, 0)))
	unknown := fetchTopic("", 0, 0)
	unknown.TopicID = [16]byte{7, 7, 7}
	id = do[*kmsg.FetchResponse](s, sessionFetch(13, 0, 0, unknown)).SessionID
	s.send(sessionFetch(13, id, 1))
	id = do[*kmsg.FetchResponse](s, sessionFetch(12, 0, 0, fetchTopic(topic, 0, 0))).SessionID
	s.send(sessionFetch(13, id, 1, byID))
}

func fetchWaiting(s *session) {
	topic := s.topic("t", 1)
	req := fetch(12, topic, 0, 0)
	req.MaxWaitMillis, req.MinBytes = 8000, 1
	waiting := s.on("waiting").start(req)
	s.fill(topic, 0, newBatch("a"))
	waiting.wait()
	req = fetch(12, topic, 0, 5)
	req.MaxWaitMillis, req.MinBytes = 8000, 1<<20
	s.send(req) // an error ends the wait
	req = fetch(12, topic, 0, 0)
	req.MaxWaitMillis, req.MinBytes = 8000, -5
	s.send(req)
	req = fetch(12, topic, 0, 1)
	req.MaxWaitMillis, req.MinBytes = -1, 1
	s.send(req)
	req = fetch(12, topic, 0, 0)
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 300, 1<<30, 100 // more than it may bring
	s.send(req)
}

func fetchReplica(s *session) {
	topic := s.topic("t", 1)
	s.fill(topic, 0, newBatch("a"))
	for _, replica := range []int32{-2, 1, 2, 99} {
		req := fetch(12, topic, 0, 0)
		req.ReplicaID = replica
		s.send(req)
	}
}

func fetchIsolation(s *session) {
	topic := s.topic("t", 1)
	s.fill(topic, 0, newBatch("a"))
	for _, level := range []int8{0, 1, 2, -1} {
		req := fetch(12, topic, 0, 0)
		req.IsolationLevel = level
		s.send(req)
	}
}

func fetchDiverging(s *session) {
	topic := s.topic("t", 1)
	s.fill(topic, 0, newBatch("a", "b"))
	for _, c := range []struct {
		offset int64
		last   int32
	}{{0, 0}, {2, 0}, {3, 0}, {0, 1}, {2, 5}, {0, -1}, {0, -2}} {
		req := fetch(12, topic, 0, c.offset)
		part(req).LastFetchedEpoch = c.last
		s.send(req)
	}
}
