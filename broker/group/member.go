package group

import (
	"bytes"
	"slices"
	"time"
)

// member is one joined member.
type member struct {
	id           string
	instance     *string
	clientID     string
	clientHost   string
	session      time.Duration
	rebalance    time.Duration
	protocolType string
	protocols    []Protocol
	assignment   []byte

	joining Ticket    // the parked JoinGroup; 0: none
	syncing Ticket    // the parked SyncGroup; 0: none
	fresh   bool      // has not got its first JoinGroup answer yet, so cannot send heartbeats
	due     time.Time // when the session ends; zero: not armed
}

// excused reports whether the member need not send heartbeats because a request of it is parked.
func (m *member) excused() bool { return !m.fresh && (m.joining != 0 || m.syncing != 0) }

// metadata returns the member's bytes for a protocol, nil if it does not support it.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

func (m *member) supports(protocol string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == protocol })
}

// sameProtocols reports whether names, order and metadata are what the member joined with.
func (m *member) sameProtocols(ps []Protocol) bool {
	return slices.EqualFunc(m.protocols, ps, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}
