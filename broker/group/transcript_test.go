package group

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the results in testdata/*.txt; review the diff")

// TestTranscripts runs every scenario in testdata. A line at the left margin is a
// comment, a setting or an event:
//
//	config delay=3s max=2
//	<time> join|sync|heartbeat|leave|commit|wait|delete|close|restore|store|stored|resume|describe|expired ... [key=value...]
//
// The time is virtual, from 0s. Before an event, the timers that are due fire, each at
// its own time. Lines that are indented are results: the actions with the ticket of the request
// they answer, and, when it has changed, the state, in which * marks the leader, j a
// parked JoinGroup, s a parked SyncGroup, and the time after @ the end of the session.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 30)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			got := runTranscript(t, string(want))
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(want), got)
		})
	}
}

// transcript is a scenario in progress.
type transcript struct {
	t       *testing.T
	cfg     Config
	g       *Group
	start   time.Time
	now     time.Time
	tickets Ticket
	ids     int
	last    string

	store    string // "": at once; waits; fails
	kept     []Store
	snapshot Snapshot // the last one stored
	out      strings.Builder
}

func runTranscript(t *testing.T, text string) string {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tr := &transcript{t: t, start: start, now: start}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, " "):
			continue
		case line == "" || strings.HasPrefix(line, "#"):
			tr.out.WriteString(line + "\n")
			continue
		}
		tr.out.WriteString(line + "\n")
		tr.run(line)
	}
	return tr.out.String()
}

// args are the words of an event after its verb, by key.
type args map[string]string

func (a args) dur(t *testing.T, key string, def time.Duration) time.Duration {
	s, ok := a[key]
	if !ok {
		return def
	}
	d, err := time.ParseDuration(s)
	require.NoError(t, err)
	return d
}

func (a args) str(key, def string) string {
	if s, ok := a[key]; ok {
		return s
	}
	return def
}

func (a args) ptr(key string) *string {
	if s, ok := a[key]; ok {
		return &s
	}
	return nil
}

func (a args) has(key string) bool { _, ok := a[key]; return ok }

func (tr *transcript) run(line string) {
	fields := strings.Fields(line)
	a := args{}
	for _, f := range fields[1:] {
		k, v, _ := strings.Cut(f, "=")
		a[k] = v
	}
	if fields[0] == "config" {
		size, _ := strconv.Atoi(a.str("max", "0"))
		tr.cfg = Config{InitialDelay: a.dur(tr.t, "delay", 0), MaxSize: size}
		require.NoError(tr.t, tr.cfg.Validate())
		return
	}
	if tr.g == nil {
		tr.g = New("g", tr.cfg, tr.now)
	}
	at, err := time.ParseDuration(fields[0])
	require.NoError(tr.t, err, line)
	tr.fireUntil(tr.start.Add(at))
	tr.event(fields[1], a)
	tr.printState()
}

// fireUntil lets the timers up to t fire, each at its own time.
func (tr *transcript) fireUntil(t time.Time) {
	require.False(tr.t, t.Before(tr.now), "times must not go back")
	for {
		due := tr.g.NextDeadline()
		if due.IsZero() || due.After(t) {
			break
		}
		tr.now = due
		actions := tr.act(Tick{})
		if len(actions) > 0 {
			fmt.Fprintf(&tr.out, "    at %v\n", due.Sub(tr.start))
			tr.print(actions)
			tr.printState()
		}
		next := tr.g.NextDeadline()
		require.True(tr.t, next.IsZero() || next.After(due), "a timer that has fired is still due")
	}
	tr.now = t
}

func (tr *transcript) ticket() Ticket { tr.tickets++; return tr.tickets }

func (tr *transcript) event(verb string, a args) {
	t := tr.t
	gen := int32(-1)
	if s, ok := a["gen"]; ok {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		gen = int32(n)
	}
	switch verb {
	case "join":
		tr.join(a)
	case "sync":
		ev := Sync{Ticket: tr.ticket(), MemberID: a["member"], Instance: a.ptr("instance"), Generation: gen, ProtocolType: a.ptr("type"), Protocol: a.ptr("protocol")}
		for _, kv := range split(a["assign"]) {
			k, v, _ := strings.Cut(kv, ":")
			ev.Assignments = append(ev.Assignments, Assignment{MemberID: k, Data: []byte(v)})
		}
		tr.step(ev)
	case "heartbeat":
		tr.step(Heartbeat{Ticket: tr.ticket(), MemberID: a["member"], Instance: a.ptr("instance"), Generation: gen})
	case "leave":
		ev := Leave{Ticket: tr.ticket()}
		for _, m := range split(a["members"]) {
			ev.Members = append(ev.Members, LeaveMember{MemberID: m, Reason: a["reason"]})
		}
		for _, i := range split(a["instances"]) {
			ev.Members = append(ev.Members, LeaveMember{MemberID: a["member"], Instance: &i, Reason: a["reason"]})
		}
		tr.step(ev)
	case "commit":
		tr.step(Commit{Ticket: tr.ticket(), MemberID: a["member"], Instance: a.ptr("instance"), Generation: gen})
	case "wait":
	case "delete":
		fmt.Fprintf(&tr.out, "    can delete: %s, can delete offsets: %s\n", errText(tr.g.CanDelete()), errText(tr.g.CanDeleteOffsets()))
		tr.step(Delete{})
	case "close":
		tr.step(Close{})
	case "restore":
		tr.g = Restore("g", tr.cfg, tr.now)
	case "store":
		tr.store = a.str("how", "")
	case "stored":
		for _, s := range tr.kept {
			tr.snapshot = s.Snapshot
			tr.step(Stored{Seq: s.Seq})
		}
		tr.kept = nil
	case "resume":
		b := tr.snapshot.AppendTo(nil)
		s, err := DecodeSnapshot(b)
		require.NoError(t, err)
		tr.g = Resume("g", tr.cfg, tr.now, s)
	case "describe":
		tr.describe()
	case "expired":
		tr.expired(a)
	default:
		require.Fail(t, "unknown verb", verb)
	}
}

func (tr *transcript) join(a args) {
	tr.ids++
	ev := Join{
		Ticket: tr.ticket(), MemberID: a["member"], Instance: a.ptr("instance"), ClientID: a.str("client", "c"), ClientHost: "/10.0.0.1",
		Session: a.dur(tr.t, "session", 10*time.Second), Rebalance: a.dur(tr.t, "rebalance", 60*time.Second),
		ProtocolType: a.str("type", "consumer"), RequireID: !a.has("old"), CanSkip: !a.has("old") && !a.has("noskip"), Reason: a["reason"],
	}
	ev.NewMemberID = NewMemberID(ev.ClientID, ev.Instance, strconv.Itoa(tr.ids))
	topics := split(a.str("topics", "t"))
	for _, p := range split(a.str("protocols", "range")) {
		meta := subscription(topics...)
		if s, ok := a["meta"]; ok {
			meta = []byte(s)
		}
		ev.Protocols = append(ev.Protocols, Protocol{Name: p, Metadata: meta})
	}
	if err := tr.cfg.CheckJoin("g", ev.Session); err != nil {
		fmt.Fprintf(&tr.out, "    refused: %v\n", err)
		return
	}
	tr.step(ev)
}

func (tr *transcript) describe() {
	d := tr.g.Describe()
	fmt.Fprintf(&tr.out, "    %s type=%q protocol=%q created=%v\n", d.State, d.ProtocolType, d.Protocol, tr.g.Created())
	for _, m := range d.Members {
		fmt.Fprintf(&tr.out, "    %s%s client=%s host=%s assignment=%q metadata=%d bytes\n",
			m.ID, instanceText(m.Instance), m.ClientID, m.ClientHost, m.Assignment, len(m.Metadata))
	}
}

func (tr *transcript) expired(a args) {
	committed := tr.start.Add(a.dur(tr.t, "committed", 0))
	var expire time.Time
	if a.has("expire") {
		expire = tr.start.Add(a.dur(tr.t, "expire", 0))
	}
	topic := a.str("topic", "t")
	fmt.Fprintf(&tr.out, "    expired=%v subscribed=%v\n", tr.g.Expired(tr.now, topic, committed, expire), tr.g.Subscribed(topic))
}

// act is Step, with every Store carried out at once, unless the setting "store" says otherwise.
func (tr *transcript) act(ev Event) []Action {
	var actions []Action
	for _, a := range tr.g.Step(tr.now, ev) {
		s, ok := a.(Store)
		if !ok {
			actions = append(actions, a)
			continue
		}
		stored := Stored{Seq: s.Seq}
		switch tr.store {
		case "waits":
			tr.kept = append(tr.kept, s)
			continue
		case "fails":
			stored.Err = ErrNotAvailable
		}
		tr.snapshot = s.Snapshot
		actions = append(actions, tr.act(stored)...)
	}
	return actions
}

func (tr *transcript) step(ev Event) {
	before := tr.tickets
	actions := tr.act(ev)
	tr.print(actions)
	if slices.ContainsFunc(tr.g.members, func(m *member) bool { return m.joining == before || m.syncing == before }) {
		fmt.Fprintf(&tr.out, "    #%d waits\n", before)
	}
}

func (tr *transcript) print(actions []Action) {
	for _, a := range actions {
		tr.out.WriteString("    " + actionText(a) + "\n")
	}
}

func (tr *transcript) printState() {
	if s := tr.stateText(); s != tr.last {
		tr.out.WriteString("    = " + s + "\n")
		tr.last = s
	}
}

func (tr *transcript) stateText() string {
	g := tr.g
	since := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Sub(tr.start).String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s gen=%d", g.state, g.generation)
	if g.protocol != "" {
		fmt.Fprintf(&b, " protocol=%s", g.protocol)
	}
	for _, m := range g.members {
		fmt.Fprintf(&b, " %s", m.id)
		if m.id == g.leader {
			b.WriteString("*")
		}
		if m.joining != 0 {
			b.WriteString("+j")
		}
		if m.syncing != 0 {
			b.WriteString("+s")
		}
		fmt.Fprintf(&b, "@%s", since(m.due))
	}
	ids := make([]string, 0, len(g.pending))
	for id, due := range g.pending {
		ids = append(ids, id+"@"+since(due))
	}
	slices.Sort(ids)
	if len(ids) > 0 {
		fmt.Fprintf(&b, " pending=%s", strings.Join(ids, ","))
	}
	if !g.join.due.IsZero() {
		fmt.Fprintf(&b, " join-ends=%s", since(g.join.due))
	}
	if !g.syncDue.IsZero() {
		fmt.Fprintf(&b, " sync-ends=%s", since(g.syncDue))
	}
	return b.String()
}

func actionText(a Action) string {
	switch a := a.(type) {
	case JoinAnswer:
		if a.Err != nil {
			return fmt.Sprintf("#%d join: %s member=%q gen=%d", a.Ticket, errText(a.Err), a.MemberID, a.Generation)
		}
		s := fmt.Sprintf("#%d join: ok member=%s gen=%d type=%s protocol=%s leader=%s", a.Ticket, a.MemberID, a.Generation, a.ProtocolType, a.Protocol, a.Leader)
		if a.SkipAssignment {
			s += " skip-assignment"
		}
		if len(a.Members) > 0 {
			s += " members="
			for i, m := range a.Members {
				if i > 0 {
					s += ","
				}
				s += m.ID + instanceText(m.Instance)
			}
		}
		return s
	case SyncAnswer:
		if a.Err != nil {
			return fmt.Sprintf("#%d sync: %s", a.Ticket, errText(a.Err))
		}
		return fmt.Sprintf("#%d sync: ok assignment=%q type=%s protocol=%s", a.Ticket, a.Assignment, a.ProtocolType, a.Protocol)
	case HeartbeatAnswer:
		return fmt.Sprintf("#%d heartbeat: %s", a.Ticket, errText(a.Err))
	case CommitAnswer:
		return fmt.Sprintf("#%d commit: %s", a.Ticket, errText(a.Err))
	case LeaveAnswer:
		s := fmt.Sprintf("#%d leave: %s", a.Ticket, errText(a.Err))
		for _, r := range a.Results {
			s += fmt.Sprintf(" [%q%s: %s]", r.MemberID, instanceText(r.Instance), errText(r.Err))
		}
		return s
	case StateChanged:
		return fmt.Sprintf("%s -> %s: %s", a.From, a.To, a.Reason)
	}
	return fmt.Sprintf("unknown action %T", a)
}

func errText(err error) string {
	if err == nil {
		return "ok"
	}
	head, _, _ := strings.Cut(err.Error(), ":")
	return strings.ToUpper(strings.ReplaceAll(head, " ", "_"))
}

func instanceText(instance *string) string {
	if instance == nil {
		return ""
	}
	return "(" + *instance + ")"
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// subscription is the consumer protocol's metadata, version 0, for topics.
func subscription(topics ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(topics)))
	for _, t := range topics {
		b = binary.BigEndian.AppendUint16(b, uint16(len(t)))
		b = append(b, t...)
	}
	return binary.BigEndian.AppendUint32(b, 0xffffffff) // no user data
}
