package group

import "time"

func (ev Sync) apply(g *Group, now time.Time) {
	if err := g.checkSync(ev); err != nil {
		g.emit(SyncAnswer{Ticket: ev.Ticket, Err: err})
		return
	}
	m := g.byID[ev.MemberID]
	g.gotSync(m)
	if g.state == Stable {
		g.emit(g.synced(m, ev.Ticket))
		return
	}
	g.answerSync(m, SyncAnswer{Err: ErrRebalanceInProgress})
	m.syncing = ev.Ticket
	if g.leader == m.id {
		g.offer(ev.Assignments)
	}
}

func (g *Group) checkSync(ev Sync) error {
	switch g.state {
	case Dead:
		return ErrNotAvailable
	case Empty:
		return ErrUnknownMember
	}
	if err := g.checkMember(ev.MemberID, ev.Instance); err != nil {
		return err
	}
	switch {
	case ev.Generation != g.generation:
		return ErrIllegalGeneration
	case differs(ev.ProtocolType, g.protocolType), differs(ev.Protocol, g.protocol):
		return ErrInconsistentProtocol
	case g.state == PreparingRebalance:
		return ErrRebalanceInProgress
	}
	return nil
}

// differs compares only when both sides say something.
func differs(requested *string, actual string) bool {
	return requested != nil && actual != "" && *requested != actual
}

// gotSync ends the wait for syncs when this was the last one.
func (g *Group) gotSync(m *member) {
	delete(g.unsent, m.id)
	if len(g.unsent) == 0 {
		g.syncDue = time.Time{}
	}
}

// offer has what the leader decided stored, before anybody hears of it.
func (g *Group) offer(as []Assignment) {
	if g.storing != 0 {
		return // the leader asks again
	}
	g.offered = make(map[string][]byte, len(as))
	for _, a := range as {
		g.offered[a.MemberID] = a.Data
	}
	g.store(func(m *member) []byte { return g.offered[m.id] })
	g.storing = g.seq
}

// assign hands out what the leader decided; a member it left out gets an empty assignment.
func (g *Group) assign(now time.Time) {
	for _, m := range g.members {
		m.assignment = g.offered[m.id]
		if m.assignment == nil {
			m.assignment = []byte{}
		}
	}
	g.offered = nil
	g.answerSyncs(now, nil)
	g.transition(now, Stable, "the leader "+g.leader+" sent the assignment")
}

// answerSyncs answers every parked SyncGroup, and starts the sessions of those members anew.
func (g *Group) answerSyncs(now time.Time, err error) {
	for _, m := range g.members {
		if m.syncing == 0 {
			continue
		}
		a := SyncAnswer{Err: err}
		if err == nil {
			a = g.synced(m, 0)
		}
		g.answerSync(m, a)
		m.due = now.Add(m.session)
	}
}

func (g *Group) synced(m *member, t Ticket) SyncAnswer {
	return SyncAnswer{Ticket: t, ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: m.assignment}
}

// answerSync answers the member's parked SyncGroup, if there is one.
func (g *Group) answerSync(m *member, a SyncAnswer) {
	if m.syncing == 0 {
		return
	}
	a.Ticket, m.syncing = m.syncing, 0
	g.emit(a)
}
