package group

import (
	"slices"
	"time"
)

func (ev Heartbeat) apply(g *Group, now time.Time) {
	g.emit(HeartbeatAnswer{Ticket: ev.Ticket, Err: g.heartbeat(now, ev)})
}

func (g *Group) heartbeat(now time.Time, ev Heartbeat) error {
	if g.state == Dead {
		return ErrNotAvailable
	}
	if err := g.checkMember(ev.MemberID, ev.Instance); err != nil {
		return err
	}
	if ev.Generation != g.generation {
		return ErrIllegalGeneration
	}
	m := g.byID[ev.MemberID]
	m.due = now.Add(m.session)
	if g.state == PreparingRebalance {
		return ErrRebalanceInProgress
	}
	return nil
}

func (ev Leave) apply(g *Group, now time.Time) {
	if g.state == Dead {
		g.emit(LeaveAnswer{Ticket: ev.Ticket, Err: ErrNotAvailable})
		return
	}
	a := LeaveAnswer{Ticket: ev.Ticket}
	left := false
	reason := "members left"
	for _, lm := range ev.Members {
		err := g.leave(lm)
		a.Results = append(a.Results, LeaveResult{LeaveMember: lm, Err: err})
		if err == nil {
			if !left {
				reason = withReason(reason, lm.Reason)
			}
			left = true
		}
	}
	g.emit(a)
	if left && g.state != Empty {
		g.rebalanceOrComplete(now, reason)
	}
}

// leave removes one member, a pending member id, or a static member by its instance id.
func (g *Group) leave(lm LeaveMember) error {
	memberID := lm.MemberID
	if memberID == "" {
		if lm.Instance == nil {
			return ErrUnknownMember
		}
		known, ok := g.static[*lm.Instance]
		if !ok {
			return ErrUnknownMember
		}
		memberID = known
	} else if _, ok := g.pending[memberID]; !ok {
		if err := g.checkMember(memberID, lm.Instance); err != nil {
			return err
		}
	}
	g.remove(memberID)
	return nil
}

// NextDeadline returns when the next Tick is due, the zero time if no timer is armed.
func (g *Group) NextDeadline() time.Time {
	var next time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	earlier(g.join.due)
	earlier(g.syncDue)
	for _, m := range g.members {
		earlier(m.due)
	}
	for _, t := range g.pending {
		earlier(t)
	}
	return next
}

func (Tick) apply(g *Group, now time.Time) {
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	for {
		next := g.NextDeadline()
		if !due(next) {
			return
		}
		switch {
		case next.Equal(g.join.due):
			g.expireJoin(now)
		case next.Equal(g.syncDue):
			g.expireSync(now)
		default:
			g.expireSessions(now, next)
		}
	}
}

func (g *Group) expireJoin(now time.Time) {
	if g.join.initial {
		g.extendOrComplete(now)
		return
	}
	g.complete(now)
}

// expireSync removes the members that have not sent SyncGroup in time.
func (g *Group) expireSync(now time.Time) {
	for _, m := range slices.Clone(g.members) {
		if _, ok := g.unsent[m.id]; ok {
			g.remove(m.id)
		}
	}
	g.prepare(now, "members failed to sync in time")
}

// expireSessions ends the sessions due at t, one after the other, in a fixed order.
func (g *Group) expireSessions(now, t time.Time) {
	var ids []string
	for id, due := range g.pending {
		if due.Equal(t) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, m := range g.members {
		if m.due.Equal(t) {
			ids = append(ids, m.id)
		}
	}
	for _, id := range ids {
		// The end of one session may have answered, and so renewed, the next.
		if m := g.byID[id]; m == nil || m.due.Equal(t) {
			g.expireSession(now, id, m)
		}
	}
}

// expireSession removes a member, or with a nil member an id that was given out or has gone meanwhile.
func (g *Group) expireSession(now time.Time, memberID string, m *member) {
	if m != nil && m.excused() {
		m.due = time.Time{} // armed again with the answer it waits for
		return
	}
	g.remove(memberID)
	switch {
	case m != nil && (g.state == Stable || g.state == CompletingRebalance):
		g.prepare(now, "the session of member "+memberID+" ended")
	case g.state == PreparingRebalance && g.allJoined():
		g.complete(now)
	}
}

func (Delete) apply(g *Group, now time.Time) {
	if g.CanDelete() == nil {
		g.created = false
		clear(g.pending)
		g.transition(now, Dead, "deleted")
	}
}

func (Close) apply(g *Group, now time.Time) {
	if g.state == Dead {
		return
	}
	for _, m := range g.members {
		g.answerJoin(m, JoinAnswer{Err: ErrNotCoordinator, MemberID: m.id})
		g.answerSync(m, SyncAnswer{Err: ErrNotCoordinator})
		m.due = time.Time{}
	}
	clear(g.pending)
	clear(g.unsent)
	g.join, g.syncDue = joinTimer{}, time.Time{}
	g.abandon()
	g.transition(now, Dead, "closed")
}
