package group

import (
	"slices"
	"time"
)

// joinTimer ends the phase in which joins are parked. The first rebalance of an empty
// group waits InitialDelay, again and again while new members come, until left is used up.
type joinTimer struct {
	due     time.Time // zero: not armed
	initial bool
	delay   time.Duration // of the wait in progress, initial only
	left    time.Duration // by which the wait may still be extended, initial only
}

// rebalanceOrComplete starts a rebalance if none is being prepared, or else ends the
// preparation if this was what it waited for.
func (g *Group) rebalanceOrComplete(now time.Time, reason string) {
	switch g.state {
	case Empty, Stable, CompletingRebalance:
		g.prepare(now, reason)
	default:
		g.completeIfAllJoined(now)
	}
}

// prepare enters PreparingRebalance: parked syncs are sent back to join.
func (g *Group) prepare(now time.Time, reason string) {
	if g.state == CompletingRebalance {
		for _, m := range g.members {
			m.assignment = nil
		}
		g.answerSyncs(now, ErrRebalanceInProgress)
	}
	g.abandon()
	clear(g.unsent)
	g.syncDue = time.Time{}
	initial := g.state == Empty
	g.transition(now, PreparingRebalance, reason)
	switch {
	case initial:
		g.newcomer = false
		d := g.cfg.InitialDelay
		g.join = joinTimer{due: now.Add(d), initial: true, delay: d, left: max(g.rebalanceTimeout()-d, 0)}
	case g.allJoined():
		g.complete(now)
	default:
		g.join = joinTimer{due: now.Add(g.rebalanceTimeout())}
	}
}

// abandon waits for nothing any more that is being stored.
func (g *Group) abandon() {
	g.storing, g.offered = 0, nil
	clear(g.returned)
}

// completeIfAllJoined ends the preparation early, but not that of a first rebalance.
func (g *Group) completeIfAllJoined(now time.Time) {
	if g.state == PreparingRebalance && g.previous != Empty && g.allJoined() {
		g.complete(now)
	}
}

// extendOrComplete is the end of one initial delay.
func (g *Group) extendOrComplete(now time.Time) {
	j := g.join
	if !g.newcomer || j.left == 0 {
		g.complete(now)
		return
	}
	g.newcomer = false
	delay := min(g.cfg.InitialDelay, j.left)
	g.join = joinTimer{due: now.Add(delay), initial: true, delay: delay, left: max(j.left-j.delay, 0)}
}

// complete ends the preparation: dynamic members that have not joined are out, and the
// others get the next generation.
func (g *Group) complete(now time.Time) {
	g.join = joinTimer{}
	reason := "all members have joined"
	if !g.allJoined() {
		reason = "the time to join is over"
	}
	for _, m := range slices.Clone(g.members) {
		if m.joining == 0 && m.instance == nil {
			g.remove(m.id)
		}
	}
	if len(g.members) > 0 && !g.electJoined() {
		// Only static members are left, and none has come back: wait until one
		// does or their sessions end.
		g.join = joinTimer{due: now.Add(max(g.rebalanceTimeout(), time.Millisecond))}
		return
	}
	g.generation++
	clear(g.unsent)
	if len(g.members) == 0 {
		g.protocol = ""
		g.readSubscriptions()
		g.transition(now, Empty, "no members are left")
		g.store(nil)
		return
	}
	g.protocol = g.selectProtocol()
	g.readSubscriptions()
	g.transition(now, CompletingRebalance, reason)
	for _, m := range g.members {
		g.answerJoin(m, g.joined(m, 0))
		m.due = now.Add(m.session)
		m.fresh = false
		g.unsent[m.id] = struct{}{}
	}
	g.syncDue = now.Add(max(g.rebalanceTimeout(), time.Millisecond))
}

// electJoined keeps the leader if it has joined, or else makes the first member that
// has joined the leader. It reports whether there is one.
func (g *Group) electJoined() bool {
	if l := g.byID[g.leader]; l != nil && l.joining != 0 {
		return true
	}
	for _, m := range g.members {
		if m.joining != 0 {
			g.leader = m.id
			return true
		}
	}
	return false
}

// selectProtocol returns the protocol with the most votes: each member votes for the
// first of its own that all members support. The earliest vote decides a tie.
func (g *Group) selectProtocol() string {
	votes := map[string]int{}
	var order []string
	for _, m := range g.members {
		for _, p := range m.protocols {
			if g.supportedByAll(p.Name) {
				if votes[p.Name]++; votes[p.Name] == 1 {
					order = append(order, p.Name)
				}
				break
			}
		}
	}
	best := ""
	for _, name := range order {
		if best == "" || votes[name] > votes[best] {
			best = name
		}
	}
	return best
}
