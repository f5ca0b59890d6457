package group

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

const consumerType = "consumer"

func (ev Commit) apply(g *Group, now time.Time) {
	err := g.checkCommit(ev)
	if err == nil {
		g.created = true
		if m := g.byID[ev.MemberID]; m != nil && !ev.Transactional && (g.state == Stable || g.state == PreparingRebalance) {
			m.due = now.Add(m.session)
		}
	}
	g.emit(CommitAnswer{Ticket: ev.Ticket, Err: err})
}

// checkCommit lets consumers without a group and tools (generation -1) commit only
// while the group is empty, and members only with the current generation.
func (g *Group) checkCommit(ev Commit) error {
	switch {
	case g.state == Dead:
		return ErrNotAvailable
	case ev.Generation < 0 && g.state == Empty:
		return nil
	case !g.created:
		return ErrNotFound
	case ev.Generation < 0 && ev.MemberID == "" && ev.Instance == nil:
		if ev.Transactional {
			return nil // old producers say nothing of the member
		}
		return ErrUnknownMember
	}
	if err := g.checkMember(ev.MemberID, ev.Instance); err != nil {
		return err
	}
	switch {
	case ev.Generation != g.generation:
		return ErrIllegalGeneration
	case g.state == CompletingRebalance && !ev.Transactional:
		return ErrRebalanceInProgress
	}
	return nil
}

// CanDelete reports why the group cannot be deleted: ErrNotFound or ErrNotEmpty.
func (g *Group) CanDelete() error {
	switch {
	case !g.created || g.state == Dead:
		return ErrNotFound
	case g.state != Empty:
		return ErrNotEmpty
	}
	return nil
}

// CanDeleteOffsets reports why no offset at all can be deleted: ErrNotFound, or ErrNotEmpty for
// a group with members whose subscriptions cannot be known. Subscribed decides for each topic.
func (g *Group) CanDeleteOffsets() error {
	err := g.CanDelete()
	if errors.Is(err, ErrNotEmpty) && g.protocolType == consumerType {
		return nil
	}
	return err
}

// Subscribed reports whether members consume the topic. Members of a consumer group
// whose metadata cannot be read are taken to consume everything.
func (g *Group) Subscribed(topic string) bool {
	if !g.topicsKnown {
		return g.protocolType == consumerType
	}
	_, ok := slices.BinarySearch(g.topics, topic)
	return ok
}

// Expired reports whether an offset's retention is over: OffsetRetention after the group
// became empty, or after the commit where there never were members or where members do
// not consume the topic any more. An expire time, which old clients may ask for, comes first.
func (g *Group) Expired(now time.Time, topic string, committed, expire time.Time) bool {
	var base time.Time
	switch {
	case g.protocolType == "":
		base = committed
	case g.state == Empty:
		base = g.since
	case g.state == Stable && g.protocolType == consumerType && g.topicsKnown:
		base = committed
	default:
		return false
	}
	switch {
	case g.Subscribed(topic):
		return false
	case !expire.IsZero():
		return !now.Before(expire)
	}
	return now.Sub(base) >= g.cfg.OffsetRetention
}

// readSubscriptions takes the topics from the members' metadata for the chosen protocol.
func (g *Group) readSubscriptions() {
	g.topics, g.topicsKnown = nil, false
	if g.protocolType != consumerType {
		return
	}
	for _, m := range g.members {
		topics, ok := SubscribedTopics(m.metadata(g.protocol))
		if !ok {
			g.topics = nil
			return
		}
		g.topics = append(g.topics, topics...)
	}
	slices.Sort(g.topics)
	g.topics, g.topicsKnown = slices.Compact(g.topics), true
}

// SubscribedTopics reads the topics of a ConsumerProtocolSubscription. All versions
// start as version 0 does: int16 version, int32 count, then int16-prefixed names.
// Nothing is allocated from a count or length that the bytes do not bear out.
func SubscribedTopics(b []byte) (topics []string, ok bool) {
	if len(b) < 6 || int16(binary.BigEndian.Uint16(b)) < 0 {
		return nil, false
	}
	count := int32(binary.BigEndian.Uint32(b[2:]))
	b = b[6:]
	if count < 0 || int(count) > len(b)/2 {
		return nil, false
	}
	topics = make([]string, 0, count)
	for range count {
		if len(b) < 2 {
			return nil, false
		}
		n := int(int16(binary.BigEndian.Uint16(b)))
		b = b[2:]
		if n < 0 || n > len(b) {
			return nil, false
		}
		topics = append(topics, string(b[:n]))
		b = b[n:]
	}
	return topics, true
}
