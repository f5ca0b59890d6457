package group

import (
	"slices"
	"strings"
	"time"
)

// CheckJoin checks what does not depend on the group's state: the group id and the session timeout.
func (c Config) CheckJoin(groupID string, session time.Duration) error {
	c = c.WithDefaults()
	if groupID == "" {
		return ErrInvalidGroupID
	}
	if session < c.MinSession || session > c.MaxSession {
		return ErrInvalidSession
	}
	return nil
}

// NewMemberID forms the id of a new member as Kafka does from its instance id, or else
// its client id, and a unique suffix.
func NewMemberID(clientID string, instance *string, unique string) string {
	if instance != nil {
		return *instance + "-" + unique
	}
	return clientID + "-" + unique
}

func (ev Join) apply(g *Group, now time.Time) {
	g.created = g.created || (ev.MemberID == "" && g.state != Dead)
	switch {
	case g.state == Dead:
		g.refuseJoin(ev, ErrNotAvailable)
	case !g.created:
		g.refuseJoin(ev, ErrUnknownMember)
	case !g.accepts(ev.MemberID):
		g.remove(ev.MemberID)
		ev.MemberID = ""
		g.refuseJoin(ev, ErrMaxSize)
	case !g.supportsAny(ev.ProtocolType, ev.Protocols):
		g.refuseJoin(ev, ErrInconsistentProtocol)
	case ev.MemberID == "":
		g.joinNew(now, ev)
	default:
		g.joinKnown(now, ev)
	}
}

func (g *Group) refuseJoin(ev Join, err error) {
	g.emit(JoinAnswer{Ticket: ev.Ticket, Err: err, MemberID: ev.MemberID, Generation: -1})
}

// accepts reports whether there is room. While preparing, those who have joined already
// count, which keeps out the last to come when the limit was lowered.
func (g *Group) accepts(memberID string) bool {
	m := g.byID[memberID]
	switch g.state {
	case PreparingRebalance:
		return (m != nil && m.joining != 0) || g.awaitingJoin() < g.cfg.MaxSize
	case CompletingRebalance, Stable:
		return m != nil || len(g.members) < g.cfg.MaxSize
	default:
		return true
	}
}

// supportsAny reports whether the type is the group's and at least one of the
// protocols is one that all members support.
func (g *Group) supportsAny(protocolType string, ps []Protocol) bool {
	if g.state == Empty {
		return protocolType != "" && len(ps) > 0
	}
	return protocolType == g.protocolType && slices.ContainsFunc(ps, func(p Protocol) bool {
		return g.supportedByAll(p.Name)
	})
}

func (g *Group) supportedByAll(protocol string) bool {
	for _, m := range g.members {
		if !m.supports(protocol) {
			return false
		}
	}
	return true
}

func (g *Group) joinNew(now time.Time, ev Join) {
	if ev.Instance != nil {
		if old, ok := g.static[*ev.Instance]; ok {
			g.replaceStatic(now, ev, g.byID[old])
			return
		}
	} else if ev.RequireID {
		g.pending[ev.NewMemberID] = now.Add(ev.Session)
		g.emit(JoinAnswer{Ticket: ev.Ticket, Err: ErrMemberIDRequired, MemberID: ev.NewMemberID, Generation: -1})
		return
	}
	g.addJoining(now, ev, ev.NewMemberID)
}

// joinKnown handles a member that names its id.
func (g *Group) joinKnown(now time.Time, ev Join) {
	if _, ok := g.pending[ev.MemberID]; ok && ev.Instance == nil {
		g.addJoining(now, ev, ev.MemberID)
		return
	}
	if err := g.checkMember(ev.MemberID, ev.Instance); err != nil {
		g.refuseJoin(ev, err)
		return
	}
	m := g.byID[ev.MemberID]
	same := m.sameProtocols(ev.Protocols)
	switch {
	case g.state == PreparingRebalance:
		g.rejoin(now, ev, m, "member "+m.id+" joins while preparing")
	case g.state == CompletingRebalance && same, g.state == Stable && same && g.leader != m.id:
		// The member may have missed the answer, or asks for nothing new.
		g.emit(g.joined(m, ev.Ticket))
	case g.state == CompletingRebalance, g.state == Stable && !same:
		g.rejoin(now, ev, m, "member "+m.id+" changes its metadata")
	case g.state == Stable:
		g.rejoin(now, ev, m, "leader "+m.id+" joins again")
	default:
		g.refuseJoin(ev, ErrUnknownMember)
	}
}

// rejoin parks the request of a member that has joined before.
func (g *Group) rejoin(now time.Time, ev Join, m *member, reason string) {
	g.update(ev, m)
	g.rebalanceOrComplete(now, withReason(reason, ev.Reason))
}

// update takes over what the member joins with and parks its request.
func (g *Group) update(ev Join, m *member) {
	g.answerJoin(m, JoinAnswer{Err: ErrRebalanceInProgress, MemberID: m.id})
	m.protocols, m.rebalance, m.session = ev.Protocols, ev.Rebalance, ev.Session
	m.joining = ev.Ticket
}

// addJoining makes a new member whose request is parked. Until its first answer it
// cannot send heartbeats, hence the longer deadline.
func (g *Group) addJoining(now time.Time, ev Join, memberID string) {
	if g.state == PreparingRebalance && g.previous == Empty {
		g.newcomer = true
	}
	g.add(&member{
		id: memberID, instance: ev.Instance, clientID: ev.ClientID, clientHost: ev.ClientHost,
		session: ev.Session, rebalance: ev.Rebalance, protocolType: ev.ProtocolType, protocols: ev.Protocols,
		joining: ev.Ticket, fresh: true, due: now.Add(g.cfg.JoinTimeout),
	})
	g.rebalanceOrComplete(now, withReason("member "+memberID+" is new", ev.Reason))
}

// replaceStatic gives a static member that comes back its new id, and fences the old one.
// While Stable, nothing else changes unless another protocol would be chosen.
func (g *Group) replaceStatic(now time.Time, ev Join, m *member) {
	oldLeader, oldID := g.leader, m.id
	g.answerJoin(m, JoinAnswer{Err: ErrFencedInstance, MemberID: oldID})
	g.answerSync(m, SyncAnswer{Err: ErrFencedInstance})
	g.rename(m, ev.NewMemberID)
	m.fresh, m.due = false, now.Add(m.session)
	g.update(ev, m)

	switch g.state {
	case Stable:
		if g.selectProtocol() != g.protocol {
			g.rebalanceOrComplete(now, withReason("static member "+m.id+" changes the protocol", ev.Reason))
			return
		}
		a := g.joined(m, 0)
		if ev.CanSkip {
			a.SkipAssignment = g.leader == m.id
		} else {
			// An old client must not think it leads: it would assign without having been asked.
			a.Leader, a.Members = oldLeader, nil
		}
		delete(g.returned, oldID)
		g.returned[m.id] = a
		g.store(func(m *member) []byte { return m.assignment })
		g.storing = g.seq
	case CompletingRebalance:
		// The leader may assign to the old id, so that the new one would get nothing.
		g.prepare(now, withReason("static member "+m.id+" replaces "+oldID, ev.Reason))
	default:
		g.completeIfAllJoined(now)
	}
}

// rename gives a static member a new id in its old place; a SyncGroup that it owes it still owes.
func (g *Group) rename(m *member, newID string) {
	if g.leader == m.id {
		g.leader = newID
	}
	delete(g.byID, m.id)
	if _, owes := g.unsent[m.id]; owes {
		delete(g.unsent, m.id)
		g.unsent[newID] = struct{}{}
	}
	m.id = newID
	g.byID[newID] = m
	g.static[*m.instance] = newID
}

// joined is the answer with the current generation.
func (g *Group) joined(m *member, t Ticket) JoinAnswer {
	a := JoinAnswer{
		Ticket: t, MemberID: m.id, Generation: g.generation,
		ProtocolType: g.protocolType, Protocol: g.protocol, Leader: g.leader,
	}
	if g.leader == m.id {
		for _, o := range g.members {
			a.Members = append(a.Members, JoinMember{ID: o.id, Instance: o.instance, Metadata: o.metadata(g.protocol)})
		}
	}
	return a
}

// answerJoin answers the member's parked JoinGroup, if there is one.
func (g *Group) answerJoin(m *member, a JoinAnswer) {
	if m.joining == 0 {
		return
	}
	a.Ticket, m.joining = m.joining, 0
	if a.Err != nil {
		a.Generation = -1
	}
	g.emit(a)
}

func withReason(reason, client string) string {
	if client = strings.TrimSpace(client); client != "" {
		return reason + "; client reason: " + client
	}
	return reason
}
