// Package group is the classic consumer group of Kafka as a pure state machine:
// Step takes an event and the time, changes the state and says what to answer.
//
// It owns membership, generations, the choice of leader and protocol, session and
// rebalance timers, and the rules by which offset commits are accepted and expire.
// It reads no clock, starts no goroutine, does no I/O, knows no protocol types and
// never alters the metadata and assignments that members exchange through it.
//
// A Group is not safe for concurrent use: its owner serialises Step and the readers.
// Byte slices handed in are kept and handed out again, and must not be changed.
//
// It follows Apache Kafka's ClassicGroup and GroupMetadataManager, but for these points:
//   - every parked request is answered. Kafka forgets the SyncGroup of a member that is
//     removed (here UNKNOWN_MEMBER_ID), and a parked JoinGroup or SyncGroup that the same
//     member sends again (here the older one is answered REBALANCE_IN_PROGRESS);
//   - a static member that restarts before it has sent its SyncGroup owes it under its new
//     id. Kafka waits for the old id, and rebalances when that does not come;
//   - where Kafka depends on the order of a hash map (the next leader, ties among
//     protocols), the order of joining decides;
//   - a static member keeps its new id when that could not be stored. Kafka gives it the
//     old one again; either way the member, which got an error, joins once more.
package group

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// State is the phase of a group. String returns Kafka's name for it.
type State uint8

// The states of a group.
const (
	Empty               State = iota // no members; it may have offsets
	PreparingRebalance               // joins are parked until all members have joined
	CompletingRebalance              // syncs are parked until the leader has sent the assignment
	Stable                           // every member has its assignment
	Dead                             // deleted or closed; nothing is accepted any more
)

var stateNames = [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}

// String returns the name that DescribeGroups and ListGroups report.
func (s State) String() string { return stateNames[s] }

// Errors that answers carry. Each stands for the Kafka error of the same name.
var (
	ErrUnknownMember        = errors.New("unknown member id")
	ErrMemberIDRequired     = errors.New("member id required: join again with the id in the answer")
	ErrIllegalGeneration    = errors.New("illegal generation")
	ErrRebalanceInProgress  = errors.New("rebalance in progress: join again")
	ErrFencedInstance       = errors.New("fenced instance id: another member joined with the same instance id")
	ErrInconsistentProtocol = errors.New("inconsistent group protocol")
	ErrMaxSize              = errors.New("group max size reached")
	ErrInvalidGroupID       = errors.New("invalid group id: must not be empty")
	ErrInvalidSession       = errors.New("invalid session timeout")
	ErrNotAvailable         = errors.New("coordinator not available")
	ErrNotCoordinator       = errors.New("not coordinator")
	ErrNotFound             = errors.New("group id not found")
	ErrNotEmpty             = errors.New("group is not empty")
	ErrSubscribed           = errors.New("group is subscribed to the topic")
)

// Config holds the limits and delays of all groups of a broker. The zero value of a
// field stands for Kafka's default, but for InitialDelay, where it means none.
type Config struct {
	InitialDelay    time.Duration // group.initial.rebalance.delay.ms
	MinSession      time.Duration // group.min.session.timeout.ms, default 6 s
	MaxSession      time.Duration // group.max.session.timeout.ms, default 30 min
	MaxSize         int           // group.max.size, default no limit
	JoinTimeout     time.Duration // how long a new member's parked JoinGroup is kept, default 5 min
	OffsetRetention time.Duration // offsets.retention.minutes, default 7 days
}

// WithDefaults returns c with Kafka's default for each field that is zero.
func (c Config) WithDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.MinSession, 6*time.Second)
	def(&c.MaxSession, 30*time.Minute)
	def(&c.JoinTimeout, 5*time.Minute)
	def(&c.OffsetRetention, 7*24*time.Hour)
	if c.MaxSize == 0 {
		c.MaxSize = int(^uint32(0) >> 1)
	}
	return c
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	switch c = c.WithDefaults(); {
	case c.InitialDelay < 0:
		return fmt.Errorf("validate group config: initial rebalance delay %v is negative", c.InitialDelay)
	case c.MinSession < 0 || c.MaxSession < c.MinSession:
		return fmt.Errorf("validate group config: session timeout range %v to %v is empty", c.MinSession, c.MaxSession)
	case c.MaxSize < 1:
		return fmt.Errorf("validate group config: max size %d is below 1", c.MaxSize)
	case c.OffsetRetention < 0:
		return fmt.Errorf("validate group config: offset retention %v is negative", c.OffsetRetention)
	}
	return nil
}

// Group is the state of one classic consumer group.
type Group struct {
	id  string
	cfg Config

	created    bool // whether the group exists for clients
	state      State
	previous   State
	since      time.Time // when the state was entered
	generation int32

	protocolType string   // of the last member; "" for a simple group
	protocol     string   // chosen for the generation; "" while none
	topics       []string // subscribed topics, sorted
	topicsKnown  bool     // whether topics could be read from the members' metadata

	leader  string             // member id; "" while none
	members []*member          // in the order of joining
	byID    map[string]*member // derived from members
	static  map[string]string  // instance id -> member id, derived from members
	pending map[string]time.Time
	unsent  map[string]struct{} // members that owe a SyncGroup in this generation

	join     joinTimer
	syncDue  time.Time // when members that owe a SyncGroup are removed; zero: not armed
	newcomer bool      // a member joined since the initial delay was last extended

	seq      uint64                // of the last Store
	storing  uint64                // the Store that is waited for; 0: none
	offered  map[string][]byte     // what the leader decided, by member id, while it is stored
	returned map[string]JoinAnswer // for static members that came back, while that is stored

	out []Action // of the Step in progress
}

// New returns an empty group that does not exist yet for clients: the first member, or
// the first commit of a consumer without a group, creates it.
func New(id string, cfg Config, now time.Time) *Group {
	return &Group{
		id: id, cfg: cfg.WithDefaults(), since: now,
		byID: map[string]*member{}, static: map[string]string{},
		pending: map[string]time.Time{}, unsent: map[string]struct{}{}, returned: map[string]JoinAnswer{},
	}
}

// Restore returns a simple group: there are offsets, and there never were members.
func Restore(id string, cfg Config, now time.Time) *Group {
	g := New(id, cfg, now)
	g.created = true
	return g
}

// ID returns the group's name.
func (g *Group) ID() string { return g.id }

// State returns the current phase.
func (g *Group) State() State { return g.state }

// Generation returns the number of rebalances so far.
func (g *Group) Generation() int32 { return g.generation }

// Created reports whether the group exists for clients.
func (g *Group) Created() bool { return g.created }

// ProtocolType returns the type the members joined with, "" for a simple group.
func (g *Group) ProtocolType() string { return g.protocolType }

// Size returns the number of members, those not counted that were only given an id.
func (g *Group) Size() int { return len(g.members) }

// Idle reports whether the group holds nothing but its existence: no members, no
// member ids given out, no timer.
func (g *Group) Idle() bool {
	return len(g.members) == 0 && len(g.pending) == 0 && (g.state == Empty || g.state == Dead)
}

// Step applies one event at the time now, which must not go back, and returns what is
// to be answered, in order. Deadlines that have passed are acted on by Tick alone.
func (g *Group) Step(now time.Time, ev Event) []Action {
	g.out = nil
	ev.apply(g, now)
	out := g.out
	g.out = nil
	return out
}

// Description is what DescribeGroups reports.
type Description struct {
	State        State
	ProtocolType string
	Protocol     string // only while Stable
	Members      []MemberDescription
}

// MemberDescription is one member of a Description.
type MemberDescription struct {
	ID         string
	Instance   *string
	ClientID   string
	ClientHost string
	Metadata   []byte // only while Stable
	Assignment []byte
}

// Describe returns the group as it stands. The byte slices are shared.
func (g *Group) Describe() Description {
	d := Description{State: g.state, ProtocolType: g.protocolType}
	if !g.created {
		d.State = Dead
	}
	stable := g.state == Stable
	if stable {
		d.Protocol = g.protocol
	}
	for _, m := range g.members {
		md := MemberDescription{
			ID: m.id, Instance: m.instance, ClientID: m.clientID, ClientHost: m.clientHost, Assignment: m.assignment,
		}
		if stable {
			md.Metadata = m.metadata(g.protocol)
		}
		d.Members = append(d.Members, md)
	}
	return d
}

// transition enters a state and reports it.
func (g *Group) transition(now time.Time, to State, reason string) {
	from := g.state
	g.previous, g.state, g.since = from, to, now
	g.emit(StateChanged{From: from, To: to, Generation: g.generation, Members: len(g.members), Reason: reason})
}

func (g *Group) emit(a Action) { g.out = append(g.out, a) }

// checkMember is Kafka's validateMember: the instance id, when given, must be mapped to
// the member id, and the member must have joined.
func (g *Group) checkMember(memberID string, instance *string) error {
	if instance != nil {
		known, ok := g.static[*instance]
		switch {
		case !ok:
			return ErrUnknownMember
		case known != memberID:
			return ErrFencedInstance
		}
	}
	if g.byID[memberID] == nil {
		return ErrUnknownMember
	}
	return nil
}

// add appends a member; the first one sets the protocol type and leads.
func (g *Group) add(m *member) {
	if len(g.members) == 0 {
		g.protocolType = m.protocolType
	}
	if g.leader == "" {
		g.leader = m.id
	}
	g.members = append(g.members, m)
	g.byID[m.id] = m
	if m.instance != nil {
		g.static[*m.instance] = m.id
	}
	delete(g.pending, m.id)
}

// remove forgets a member or a pending member id and answers what it waits for.
func (g *Group) remove(memberID string) {
	delete(g.pending, memberID)
	delete(g.unsent, memberID)
	m := g.byID[memberID]
	if m == nil {
		return
	}
	g.answerJoin(m, JoinAnswer{Err: ErrUnknownMember})
	g.answerSync(m, SyncAnswer{Err: ErrUnknownMember})
	delete(g.byID, memberID)
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	if m.instance != nil {
		delete(g.static, *m.instance)
	}
	if g.leader == memberID {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

// awaitingJoin counts the members whose JoinGroup is parked.
func (g *Group) awaitingJoin() int {
	n := 0
	for _, m := range g.members {
		if m.joining != 0 {
			n++
		}
	}
	return n
}

// allJoined reports whether nobody is missing, not even a member that was only given an id.
func (g *Group) allJoined() bool {
	return len(g.pending) == 0 && g.awaitingJoin() == len(g.members)
}

// rebalanceTimeout is the longest of the members'.
func (g *Group) rebalanceTimeout() time.Duration {
	var d time.Duration
	for _, m := range g.members {
		d = max(d, m.rebalance)
	}
	return d
}
