package broker

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
)

// Incremental fetch sessions (KIP-227): a client names its partitions once and
// then only what changes; the broker leaves out of an answer what has nothing new.

// Limits of the session cache (max.incremental.fetch.session.cache.slots, and the
// age below which a session is not evicted for another).
const (
	maxFetchSessions    = 1000
	fetchSessionMinLife = 2 * time.Minute
)

// The session epochs with a meaning of their own.
const (
	epochInitial = 0  // a full fetch that asks for a session
	epochFinal   = -1 // a full fetch without a session; ends the one it names
)

// fetchKey names a partition in a session by what the request version uses:
// the id from version 13 on, the name before.
type fetchKey struct {
	topic string
	id    id.Topic
	index int32
}

// fetchPartition is what a client wants of one partition, and what it was last told.
type fetchPartition struct {
	fetchKey
	offset       id.Offset
	maxBytes     int32
	currentEpoch id.Epoch // -1: not checked
	lastEpoch    id.Epoch // epoch of the last fetched record, -1: not checked
	sent         bool     // the fields below were sent to the client
	sentHigh     id.Offset
	sentStart    id.Offset
	// kept is the session's own, of which this one is a copy for one fetch.
	kept *fetchPartition
}

// fetchSession is the state of one client. A client has one fetch under way at a
// time; the mutex guards against those that do not keep to it.
type fetchSession struct {
	id      int32
	mu      sync.Mutex
	epoch   int32 // the next request's
	usesIDs bool
	parts   []*fetchPartition // in the order in which they are served
	byKey   map[fetchKey]*fetchPartition
	used    time.Time
}

// fetchSessions is the cache. The zero value is ready.
type fetchSessions struct {
	mu   sync.Mutex
	byID map[int32]*fetchSession
}

// fetchContext is one fetch as its session sees it. session is nil for a fetch without one.
type fetchContext struct {
	session     *fetchSession
	id          int32
	parts       []*fetchPartition
	incremental bool
}

// begin applies a request to the cache and returns what is to be fetched. The
// error is one of FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH and
// FETCH_SESSION_TOPIC_ID_ERROR.
func (s *fetchSessions) begin(req *kmsg.FetchRequest, now time.Time) (fetchContext, *kerr.Error) {
	usesIDs := req.Version >= 13
	if req.SessionEpoch == epochFinal || req.SessionEpoch == epochInitial {
		s.end(req.SessionID)
		parts := requestedPartitions(req)
		if req.SessionEpoch == epochFinal {
			return fetchContext{parts: parts}, nil
		}
		session := s.create(parts, usesIDs, now)
		if session == nil {
			return fetchContext{parts: parts}, nil
		}
		return fetchContext{session: session, id: session.id, parts: copyPartitions(parts)}, nil
	}

	s.mu.Lock()
	session := s.byID[req.SessionID]
	s.mu.Unlock()
	if session == nil {
		return fetchContext{}, kerr.FetchSessionIDNotFound
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	if session.epoch != req.SessionEpoch {
		return fetchContext{}, kerr.InvalidFetchSessionEpoch
	}
	if session.usesIDs != usesIDs {
		return fetchContext{}, kerr.FetchSessionTopicIDError
	}
	session.update(req)
	session.epoch = nextSessionEpoch(session.epoch)
	session.used = now
	return fetchContext{session: session, id: session.id, parts: copyPartitions(session.parts), incremental: true}, nil
}

// copyPartitions gives a fetch its own view of a session's partitions: a parked fetch
// reads them while the session's next request may already change them.
func copyPartitions(kept []*fetchPartition) []*fetchPartition {
	values := make([]fetchPartition, len(kept))
	parts := make([]*fetchPartition, len(kept))
	for i, fp := range kept {
		values[i] = *fp
		values[i].kept = fp
		parts[i] = &values[i]
	}
	return parts
}

func nextSessionEpoch(epoch int32) int32 {
	if epoch == 1<<31-1 {
		return 1
	}
	return epoch + 1
}

// requestedPartitions lists the partitions of a request in its order.
func requestedPartitions(req *kmsg.FetchRequest) []*fetchPartition {
	var parts []*fetchPartition
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			parts = append(parts, newFetchPartition(t, &t.Partitions[j]))
		}
	}
	return parts
}

func newFetchPartition(t *kmsg.FetchRequestTopic, p *kmsg.FetchRequestTopicPartition) *fetchPartition {
	fp := &fetchPartition{fetchKey: fetchKey{topic: t.Topic, id: t.TopicID, index: p.Partition}}
	fp.want(p)
	return fp
}

func (fp *fetchPartition) want(p *kmsg.FetchRequestTopicPartition) {
	fp.offset = id.Offset(p.FetchOffset)
	fp.maxBytes = p.PartitionMaxBytes
	fp.currentEpoch = max(id.Epoch(p.CurrentLeaderEpoch), -1) // as in Kafka, and here only, all that is negative is none
	fp.lastEpoch = id.Epoch(p.LastFetchedEpoch)
}

// update adds and changes the partitions that a request names and forgets those it lists.
func (s *fetchSession) update(req *kmsg.FetchRequest) {
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			fp := newFetchPartition(t, &t.Partitions[j])
			if known := s.byKey[fp.fetchKey]; known != nil {
				known.want(&t.Partitions[j])
				continue
			}
			s.byKey[fp.fetchKey] = fp
			s.parts = append(s.parts, fp)
		}
	}
	forgotten := false
	for _, t := range req.ForgottenTopics {
		for _, index := range t.Partitions {
			delete(s.byKey, fetchKey{topic: t.Topic, id: t.TopicID, index: index})
			forgotten = true
		}
	}
	if !forgotten {
		return
	}
	live := s.parts[:0]
	for _, fp := range s.parts {
		if s.byKey[fp.fetchKey] == fp {
			live = append(live, fp)
		}
	}
	clear(s.parts[len(live):])
	s.parts = live
}

// serveLast moves the partitions that have just been given data behind the
// others, so that none starves when an answer is full.
func (s *fetchSession) serveLast(served map[*fetchPartition]bool) {
	if len(served) == 0 || len(served) == len(s.parts) {
		return
	}
	order := make([]*fetchPartition, 0, len(s.parts))
	for _, fp := range s.parts {
		if !served[fp] {
			order = append(order, fp)
		}
	}
	for _, fp := range s.parts {
		if served[fp] {
			order = append(order, fp)
		}
	}
	s.parts = order
}

// create makes a session, or returns nil if the cache is full of younger ones.
func (s *fetchSessions) create(parts []*fetchPartition, usesIDs bool, now time.Time) *fetchSession {
	if len(parts) == 0 {
		return nil
	}
	session := &fetchSession{epoch: 1, usesIDs: usesIDs, used: now, parts: parts, byKey: make(map[fetchKey]*fetchPartition, len(parts))}
	for _, fp := range parts {
		session.byKey[fp.fetchKey] = fp
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = make(map[int32]*fetchSession)
	}
	if len(s.byID) >= maxFetchSessions && !s.evict(now) {
		return nil
	}
	for {
		session.id = 1 + rand.Int32N(1<<31-1)
		if _, taken := s.byID[session.id]; !taken {
			break
		}
	}
	s.byID[session.id] = session
	return session
}

// evict makes room by ending the session that was idle longest, if that is long enough.
func (s *fetchSessions) evict(now time.Time) bool {
	var oldest *fetchSession
	var since time.Time
	for _, session := range s.byID {
		session.mu.Lock()
		used := session.used
		session.mu.Unlock()
		if oldest == nil || used.Before(since) {
			oldest, since = session, used
		}
	}
	if oldest == nil || now.Sub(since) < fetchSessionMinLife {
		return false
	}
	delete(s.byID, oldest.id)
	return true
}

func (s *fetchSessions) end(sessionID int32) {
	if sessionID == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, sessionID)
}
