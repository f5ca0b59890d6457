package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The versions asked for: the newest whose headers are not flexible, and that do not ask for
// a member id first.
const (
	joinVersion      = 3
	syncVersion      = 2
	heartbeatVersion = 2
	commitVersion    = 7
)

// member is a member of a group: the state of a consumer and nothing of its own.
type member struct {
	group      string
	number     int // in the group
	topic      string
	session    time.Duration
	id         string
	generation int32
}

// join joins the group and takes an assignment; it ends when the group has settled. The
// leader gives everyone the same empty assignment: what is measured is the coordinator.
func (m *member) join(c *conn) error {
	for {
		err := m.tryJoin(c)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, kerr.UnknownMemberID):
			m.id = ""
		case errors.Is(err, kerr.RebalanceInProgress), errors.Is(err, kerr.CoordinatorLoadInProgress),
			errors.Is(err, kerr.CoordinatorNotAvailable), errors.Is(err, kerr.NotCoordinator):
		default:
			return fmt.Errorf("join %s as member %d: %w", m.group, m.number, err)
		}
	}
}

func (m *member) tryJoin(c *conn) error {
	join := kmsg.NewPtrJoinGroupRequest()
	join.SetVersion(joinVersion)
	join.Group, join.MemberID, join.ProtocolType = m.group, m.id, "consumer"
	join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = int32(m.session.Milliseconds()), 30_000
	protocol := kmsg.NewJoinGroupRequestProtocol()
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{m.topic}
	protocol.Name, protocol.Metadata = "range", meta.AppendTo(nil)
	join.Protocols = append(join.Protocols, protocol)
	got, err := c.ask(join)
	if err != nil {
		return err
	}
	joined, ok := got.(*kmsg.JoinGroupResponse)
	if !ok {
		return errors.New("the answer to a join is none")
	}
	if err := kerr.ErrorForCode(joined.ErrorCode); err != nil {
		return err
	}
	m.id, m.generation = joined.MemberID, joined.Generation

	sync := kmsg.NewPtrSyncGroupRequest()
	sync.SetVersion(syncVersion)
	sync.Group, sync.MemberID, sync.Generation = m.group, m.id, m.generation
	assignment := kmsg.NewConsumerMemberAssignment()
	for _, other := range joined.Members { // only the leader is told of any
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = other.MemberID, assignment.AppendTo(nil)
		sync.GroupAssignment = append(sync.GroupAssignment, a)
	}
	got, err = c.ask(sync)
	if err != nil {
		return err
	}
	synced, ok := got.(*kmsg.SyncGroupResponse)
	if !ok {
		return errors.New("the answer to a sync is none")
	}
	return kerr.ErrorForCode(synced.ErrorCode)
}

// heartbeat returns RebalanceInProgress and its like as they are.
func (m *member) heartbeat(c *conn) error {
	req := kmsg.NewPtrHeartbeatRequest()
	req.SetVersion(heartbeatVersion)
	req.Group, req.MemberID, req.Generation = m.group, m.id, m.generation
	got, err := c.ask(req)
	if err != nil {
		return err
	}
	resp, ok := got.(*kmsg.HeartbeatResponse)
	if !ok {
		return errors.New("the answer to a heartbeat is none")
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// commit commits an offset for some partitions. A member without an id is none of the group.
func (m *member) commit(c *conn, offset int64, partitions ...int32) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.SetVersion(commitVersion)
	req.Group, req.MemberID, req.Generation = m.group, m.id, m.generation
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = m.topic
	for _, index := range partitions {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = index, offset
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	got, err := c.ask(req)
	if err != nil {
		return err
	}
	resp, ok := got.(*kmsg.OffsetCommitResponse)
	if !ok {
		return errors.New("the answer to a commit is none")
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("commit %s-%d of %s: %w", t.Topic, p.Partition, m.group, err)
			}
		}
	}
	return nil
}
