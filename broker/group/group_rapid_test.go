package group

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestRandomEvents holds the state machine to its invariants under events in any
// order, from members that follow the protocol and from some that do not.
func TestRandomEvents(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWalk(t)
		steps := rapid.IntRange(1, 120).Draw(t, "steps")
		for range steps {
			w.step(w.draw())
		}
		w.step(Close{})
		require.Empty(t, w.waiting, "requests that were never answered")
		require.True(t, w.g.NextDeadline().IsZero(), "timers armed after close")
	})
}

// walk is a random run and what it knows of the requests it has sent.
type walk struct {
	t          *rapid.T
	g          *Group
	now        time.Time
	tickets    Ticket
	ids        []string
	waiting    map[Ticket]string // kind of request by ticket
	generation int32
	stores     []Store // not carried out yet
	snapshot   Snapshot
}

func newWalk(t *rapid.T) *walk {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	cfg := Config{
		InitialDelay: rapid.SampledFrom([]time.Duration{0, 3 * time.Second}).Draw(t, "delay"),
		MaxSize:      rapid.SampledFrom([]int{0, 2, 3}).Draw(t, "max"),
	}
	return &walk{t: t, now: now, g: New("g", cfg, now), ids: []string{""}, waiting: map[Ticket]string{}}
}

func (w *walk) ticket(kind string) Ticket {
	w.tickets++
	w.waiting[w.tickets] = kind
	return w.tickets
}

func (w *walk) draw() Event {
	w.now = w.now.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, 4 * time.Second}).Draw(w.t, "pause"))
	id := rapid.SampledFrom(w.ids).Draw(w.t, "id")
	if live := w.g.members; len(live) > 0 && rapid.IntRange(0, 3).Draw(w.t, "live") > 0 {
		id = rapid.SampledFrom(live).Draw(w.t, "member").id
	}
	instance := w.instanceOf(id)
	gen := w.g.generation - int32(rapid.SampledFrom([]int{0, 0, 0, 0, 1}).Draw(w.t, "behind"))
	switch rapid.SampledFrom([]string{"new", "join", "join", "sync", "sync", "heartbeat", "leave", "commit", "tick", "tick", "delete", "stored", "stored"}).Draw(w.t, "event") {
	case "new":
		return w.join("", w.drawInstance())
	case "join":
		return w.join(id, instance)
	case "sync":
		return w.sync(id, instance, gen)
	case "heartbeat":
		return Heartbeat{Ticket: w.ticket("heartbeat"), MemberID: id, Instance: instance, Generation: gen}
	case "leave":
		return Leave{Ticket: w.ticket("leave"), Members: []LeaveMember{{MemberID: id, Instance: instance}}}
	case "commit":
		return Commit{Ticket: w.ticket("commit"), MemberID: id, Instance: instance, Generation: gen}
	case "delete":
		return Delete{}
	case "stored":
		if len(w.stores) > 0 {
			return w.stored()
		}
	}
	if due := w.g.NextDeadline(); due.After(w.now) {
		w.now = due
	}
	return Tick{}
}

// stored carries out what waits to be stored, or only the newest of it.
func (w *walk) stored() Event {
	n := rapid.SampledFrom([]int{1, len(w.stores)}).Draw(w.t, "carried out")
	s := w.stores[n-1]
	w.stores = w.stores[n:]
	if rapid.IntRange(0, 5).Draw(w.t, "outcome") == 0 {
		return Stored{Seq: s.Seq, Err: ErrNotAvailable}
	}
	w.snapshot = s.Snapshot
	w.resume()
	return Stored{Seq: s.Seq}
}

// resume holds the group that another coordinator would carry on to its snapshot.
func (w *walk) resume() {
	back, err := DecodeSnapshot(w.snapshot.AppendTo(nil))
	require.NoError(w.t, err)
	g := Resume("g", w.g.cfg, w.now, back)
	require.Equal(w.t, w.snapshot.Generation, g.Generation())
	require.Len(w.t, g.members, len(w.snapshot.Members))
	other := walk{t: w.t, g: g, now: w.now, waiting: map[Ticket]string{}}
	other.invariants()
}

func (w *walk) drawInstance() *string {
	return rapid.SampledFrom([]*string{nil, nil, new("A"), new("B")}).Draw(w.t, "instance")
}

func (w *walk) instanceOf(id string) *string {
	if m := w.g.byID[id]; m != nil && rapid.IntRange(0, 9).Draw(w.t, "forget instance") > 0 {
		return m.instance
	}
	return nil
}

func (w *walk) join(id string, instance *string) Event {
	fresh := "m" + strconv.Itoa(len(w.ids))
	ev := Join{
		Ticket: w.ticket("join"), MemberID: id, NewMemberID: fresh, Instance: instance, ClientID: "c",
		Session: 10 * time.Second, Rebalance: rapid.SampledFrom([]time.Duration{0, 5 * time.Second, time.Minute}).Draw(w.t, "rebalance"),
		ProtocolType: "consumer", RequireID: rapid.Bool().Draw(w.t, "require"), CanSkip: rapid.Bool().Draw(w.t, "skip"),
	}
	for _, name := range rapid.SampledFrom([][]string{{"x"}, {"x", "y"}, {"y", "x"}, {"y"}}).Draw(w.t, "protocols") {
		ev.Protocols = append(ev.Protocols, Protocol{Name: name, Metadata: subscription(rapid.SampledFrom([]string{"t", "u"}).Draw(w.t, "topic"))})
	}
	if id == "" {
		w.ids = append(w.ids, fresh)
	}
	return ev
}

func (w *walk) sync(id string, instance *string, gen int32) Event {
	ev := Sync{Ticket: w.ticket("sync"), MemberID: id, Instance: instance, Generation: gen}
	if id == w.g.leader {
		for i, m := range w.g.members {
			if i == 0 || rapid.Bool().Draw(w.t, "assigned") {
				ev.Assignments = append(ev.Assignments, Assignment{MemberID: m.id, Data: []byte(m.id)})
			}
		}
	}
	return ev
}

func (w *walk) step(ev Event) {
	for _, a := range w.g.Step(w.now, ev) {
		w.answered(a)
	}
	w.invariants()
	if w.g.state == Dead {
		if _, closed := ev.(Close); !closed {
			w.g, w.generation, w.stores = New("g", w.g.cfg, w.now), 0, nil
		}
	}
}

func (w *walk) answered(a Action) {
	check := func(ticket Ticket, kind string) {
		require.Equal(w.t, kind, w.waiting[ticket], "answer to ticket %d", ticket)
		delete(w.waiting, ticket)
	}
	switch a := a.(type) {
	case JoinAnswer:
		check(a.Ticket, "join")
		if a.Err == nil {
			require.NotEmpty(w.t, a.Leader)
			require.NotEmpty(w.t, a.Protocol)
			require.Positive(w.t, a.Generation)
		}
	case SyncAnswer:
		check(a.Ticket, "sync")
		require.True(w.t, a.Err != nil || a.Assignment != nil)
	case HeartbeatAnswer:
		check(a.Ticket, "heartbeat")
	case LeaveAnswer:
		check(a.Ticket, "leave")
	case CommitAnswer:
		check(a.Ticket, "commit")
	case Store:
		w.stores = append(w.stores, a)
	case StateChanged:
		require.NotEmpty(w.t, a.Reason)
	}
}

func (w *walk) invariants() {
	t, g := w.t, w.g
	require.GreaterOrEqual(t, g.generation, w.generation, "the generation went back")
	w.generation = g.generation

	require.Len(t, g.byID, len(g.members))
	static, parked := 0, map[Ticket]string{}
	for _, m := range g.members {
		require.Same(t, m, g.byID[m.id])
		require.NotContains(t, g.pending, m.id)
		require.False(t, m.joining != 0 && m.syncing != 0, "join and sync of one member parked")
		if m.joining != 0 {
			parked[m.joining] = "join"
		}
		if m.syncing != 0 {
			parked[m.syncing] = "sync"
		}
		if m.instance != nil {
			static++
			require.Equal(t, m.id, g.static[*m.instance])
		}
		require.True(t, g.state == Dead || !m.due.IsZero() || m.excused(), "member %s never expires", m.id)
	}
	require.Len(t, g.static, static)
	require.Equal(t, parked, w.waiting, "what is parked and what waits for an answer")

	if len(g.members) == 0 {
		require.Empty(t, g.leader)
	} else {
		require.Contains(t, g.byID, g.leader, "the leader is no member")
	}
	for id := range g.unsent {
		require.Contains(t, g.byID, id)
	}
	require.Equal(t, len(g.unsent) == 0, g.syncDue.IsZero(), "syncs are owed while the timer for them is armed")
	w.stateInvariants()
}

func (w *walk) stateInvariants() {
	t, g := w.t, w.g
	all := func(what string, f func(m *member) bool) {
		require.False(t, slices.ContainsFunc(g.members, func(m *member) bool { return !f(m) }), "%s: %s", g.state, what)
	}
	switch g.state {
	case Empty:
		require.Empty(t, g.members)
		require.True(t, g.join.due.IsZero() && g.syncDue.IsZero(), "timers of an empty group")
	case PreparingRebalance:
		require.False(t, g.join.due.IsZero(), "the preparation never ends")
		all("no sync is parked", func(m *member) bool { return m.syncing == 0 })
	case CompletingRebalance:
		require.NotEmpty(t, g.members)
		require.True(t, !g.syncDue.IsZero() || g.storing != 0, "the wait for syncs never ends")
		all("no join is parked", func(m *member) bool { return m.joining == 0 })
		all("the protocol is supported", func(m *member) bool { return m.supports(g.protocol) })
	case Stable:
		require.NotEmpty(t, g.members)
		all("nothing is parked but until it is stored", func(m *member) bool {
			_, returned := g.returned[m.id]
			return (m.joining == 0 || returned && g.storing != 0) && m.syncing == 0
		})
		all("each has its assignment", func(m *member) bool { return m.assignment != nil })
		all("the protocol is supported", func(m *member) bool { return m.supports(g.protocol) })
	}
}

// FuzzSubscribedTopics: any bytes are read or refused without a panic, and what was
// encoded is read back.
func FuzzSubscribedTopics(f *testing.F) {
	f.Add(subscription("t", "another"), "t")
	f.Add([]byte{0, 1, 0x7f, 0xff, 0xff, 0xff}, "")
	f.Add([]byte{0xff, 0xff, 0, 0, 0, 0}, "x")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		topics, ok := SubscribedTopics(b)
		require.True(t, ok || topics == nil)
		if len(name) < 1<<15 {
			topics, ok = SubscribedTopics(subscription(name, "z"))
			require.True(t, ok)
			require.Equal(t, []string{name, "z"}, topics)
		}
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	require.NoError(t, Config{}.Validate())
	for _, bad := range []Config{
		{InitialDelay: -1},
		{MinSession: time.Hour, MaxSession: time.Minute},
		{MaxSize: -1},
		{OffsetRetention: -1},
	} {
		require.Error(t, bad.Validate(), fmt.Sprintf("%+v", bad))
	}
	require.ErrorIs(t, Config{}.CheckJoin("", time.Minute), ErrInvalidGroupID)
	require.ErrorIs(t, Config{}.CheckJoin("g", time.Second), ErrInvalidSession)
	require.NoError(t, Config{}.CheckJoin("g", 6*time.Second))
}
