package group

import "time"

// Snapshot is what a coordinator needs to carry a group on that another one has left:
// a Stable group, or with no members an Empty one.
type Snapshot struct {
	Generation   int32
	ProtocolType string
	Protocol     string // "" while Empty
	Leader       string // member id; "" while Empty
	Since        time.Time
	Members      []MemberSnapshot // in the order of joining
}

// MemberSnapshot is one member of a Snapshot.
type MemberSnapshot struct {
	ID         string
	Instance   *string
	ClientID   string
	ClientHost string
	Session    time.Duration
	Rebalance  time.Duration
	Protocols  []Protocol
	Assignment []byte
}

// Store asks for the Snapshot to be stored, in place of the ones before; Stored tells the
// outcome. An older one whose turn has not come may be left out.
type Store struct {
	Seq      uint64
	Snapshot Snapshot
}

func (Store) isAction() {}

// Stored says that a Snapshot is stored, or why it may not be. What waits for it is
// answered then: the SyncGroups of a generation, and the JoinGroup of a static member that
// has come back.
type Stored struct {
	Seq uint64
	Err error
}

func (ev Stored) apply(g *Group, now time.Time) {
	if g.storing == 0 || ev.Seq < g.storing {
		return
	}
	g.storing = 0
	switch {
	case g.state == CompletingRebalance && ev.Err != nil:
		g.offered = nil
		g.answerSyncs(now, ev.Err)
		g.prepare(now, "the assignment could not be stored")
	case g.state == CompletingRebalance:
		g.assign(now)
	case g.state == Stable:
		for _, m := range g.members {
			a := g.returned[m.id]
			if a.Err = ev.Err; ev.Err != nil {
				a = JoinAnswer{Err: ev.Err}
			}
			if m.joining != 0 {
				m.due = now.Add(m.session)
			}
			g.answerJoin(m, a)
		}
		clear(g.returned)
	}
}

// store asks for the group to be stored; assignments are those of members, by their id.
func (g *Group) store(assignment func(*member) []byte) {
	g.seq++
	s := Snapshot{Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol, Leader: g.leader, Since: g.since}
	for _, m := range g.members {
		s.Members = append(s.Members, MemberSnapshot{
			ID: m.id, Instance: m.instance, ClientID: m.clientID, ClientHost: m.clientHost,
			Session: m.session, Rebalance: m.rebalance, Protocols: m.protocols, Assignment: assignment(m),
		})
	}
	g.emit(Store{Seq: g.seq, Snapshot: s})
}

// Resume returns the group that a Snapshot was taken of. The sessions of its members start anew.
func Resume(id string, cfg Config, now time.Time, s Snapshot) *Group {
	g := New(id, cfg, now)
	g.created, g.generation, g.since = true, s.Generation, s.Since
	g.protocolType, g.protocol = s.ProtocolType, s.Protocol
	for _, ms := range s.Members {
		g.add(&member{
			id: ms.ID, instance: ms.Instance, clientID: ms.ClientID, clientHost: ms.ClientHost,
			session: ms.Session, rebalance: ms.Rebalance, protocolType: s.ProtocolType, protocols: ms.Protocols,
			assignment: ms.Assignment, due: now.Add(ms.Session),
		})
	}
	if g.byID[s.Leader] != nil {
		g.leader = s.Leader
	}
	if len(g.members) > 0 {
		g.state = Stable
	}
	g.readSubscriptions()
	return g
}
