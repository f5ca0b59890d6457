package group

import "time"

// Ticket names a request that waits for its answer. The owner of the group draws a
// new one, above zero, for each event that carries one.
type Ticket uint64

// Event is what happens to a group: Join, Sync, Heartbeat, Leave, Commit, Tick, Delete or Close.
type Event interface {
	apply(g *Group, now time.Time)
}

// Protocol is one assignment strategy that a member supports, with the member's metadata for it.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Join is a JoinGroup request. It is answered by JoinAnswer, at once or later.
type Join struct {
	Ticket       Ticket
	MemberID     string  // "" for a new member
	NewMemberID  string  // the unique id to give out when MemberID is ""; see NewMemberID
	Instance     *string // group.instance.id of a static member
	ClientID     string
	ClientHost   string
	Session      time.Duration
	Rebalance    time.Duration
	ProtocolType string
	Protocols    []Protocol // in the order of the member's preference
	RequireID    bool       // a new dynamic member must join again with the id it is given (v4+)
	CanSkip      bool       // the client understands SkipAssignment (v9+)
	Reason       string     // the client's, may be empty
}

// Assignment is what the leader decided for one member.
type Assignment struct {
	MemberID string
	Data     []byte
}

// Sync is a SyncGroup request. It is answered by SyncAnswer, at once or later.
type Sync struct {
	Ticket       Ticket
	MemberID     string
	Instance     *string
	Generation   int32
	ProtocolType *string // nil before v5
	Protocol     *string // nil before v5
	Assignments  []Assignment
}

// Heartbeat is a Heartbeat request. It is answered by HeartbeatAnswer at once.
type Heartbeat struct {
	Ticket     Ticket
	MemberID   string
	Instance   *string
	Generation int32
}

// LeaveMember names a member to remove, by its id or, with an empty id, by its instance id alone.
type LeaveMember struct {
	MemberID string
	Instance *string
	Reason   string
}

// Leave is a LeaveGroup request. It is answered by LeaveAnswer at once.
type Leave struct {
	Ticket  Ticket
	Members []LeaveMember
}

// Commit asks whether offsets may be committed. It is answered by CommitAnswer at once and,
// when accepted and not part of a transaction, keeps the member's session alive.
type Commit struct {
	Ticket        Ticket
	MemberID      string
	Instance      *string
	Generation    int32 // -1 from a consumer without a group and from tools
	Transactional bool  // who names no member may commit also while there are some
}

// Tick acts on all deadlines that have passed.
type Tick struct{}

// Delete ends an empty group. The caller asks CanDelete first; a group with members stays.
type Delete struct{}

// Close ends the group on this coordinator: what is parked is answered ErrNotCoordinator.
type Close struct{}

// Action is what follows from an event: an answer, or StateChanged.
type Action interface{ isAction() }

// JoinMember is a member as the leader sees it.
type JoinMember struct {
	ID       string
	Instance *string
	Metadata []byte
}

// JoinAnswer answers a Join.
type JoinAnswer struct {
	Ticket         Ticket
	Err            error
	MemberID       string
	Generation     int32  // -1 with an error
	ProtocolType   string // "" means null
	Protocol       string // "" means null
	Leader         string
	SkipAssignment bool
	Members        []JoinMember // only for the leader
}

// SyncAnswer answers a Sync.
type SyncAnswer struct {
	Ticket       Ticket
	Err          error
	ProtocolType string
	Protocol     string
	Assignment   []byte
}

// HeartbeatAnswer answers a Heartbeat.
type HeartbeatAnswer struct {
	Ticket Ticket
	Err    error
}

// LeaveResult is the outcome for one member of a Leave.
type LeaveResult struct {
	LeaveMember
	Err error
}

// LeaveAnswer answers a Leave; the results are in the order of the request.
type LeaveAnswer struct {
	Ticket  Ticket
	Err     error
	Results []LeaveResult
}

// CommitAnswer answers a Commit. ErrNotFound means a generation was given for a group that does not exist.
type CommitAnswer struct {
	Ticket Ticket
	Err    error
}

// StateChanged reports a transition, for logs and metrics.
type StateChanged struct {
	From, To   State
	Generation int32
	Members    int
	Reason     string
}

func (JoinAnswer) isAction()      {}
func (SyncAnswer) isAction()      {}
func (HeartbeatAnswer) isAction() {}
func (LeaveAnswer) isAction()     {}
func (CommitAnswer) isAction()    {}
func (StateChanged) isAction()    {}
