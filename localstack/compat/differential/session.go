package differential

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// session is a scenario under way against one broker. What the broker answers is written
// down in a form that does not depend on the broker.
type session struct {
	*transcript
	via    string // which of the connections
	silent bool   // what is done is not written down
}

// transcript is what the broker of a session said so far, and how.
type transcript struct {
	ctx    context.Context
	addr   string
	prefix string // of the names of topics and groups
	conns  map[string]*conn
	canon  *canon
	steps  []step
	marks  int            // topics made so that the broker settles
	seen   map[string]int // labels so far
}

// step is one thing that was done and what came of it.
type step struct {
	label  string
	fields []field
}

// abandon ends a scenario that cannot go on: a defect of the scenario or of a broker.
type abandon struct{ err error }

func newSession(ctx context.Context, addr, id string) *session {
	prefix := strings.NewReplacer("/", "-", " ", "-").Replace(id) + "-"
	return &session{transcript: &transcript{
		ctx: ctx, addr: addr, prefix: prefix, conns: map[string]*conn{}, seen: map[string]int{}, canon: newCanon(prefix),
	}}
}

// run runs the scenario and returns its steps.
func (s *session) run(f func(*session)) (steps []step, err error) {
	defer func() {
		for _, c := range s.conns {
			_ = c.nc.Close()
		}
		switch r := recover().(type) {
		case nil:
		case abandon:
			err = fmt.Errorf("after %d steps: %w", len(s.steps), r.err)
		default:
			panic(r)
		}
		steps = s.steps
	}()
	f(s)
	return s.steps, nil
}

func (s *session) fail(format string, args ...any) {
	panic(abandon{fmt.Errorf(format, args...)})
}

// on returns the session on another connection, which stays open between uses.
func (s *session) on(name string) *session {
	return &session{transcript: s.transcript, via: name, silent: s.silent}
}

// quiet returns the session without its steps being written down.
func (s *session) quiet() *session {
	return &session{transcript: s.transcript, via: s.via, silent: true}
}

// name makes a name of a topic, group or transactional id that only this scenario uses.
func (s *session) name(suffix string) string {
	return s.prefix + suffix
}

// conn returns the session's connection, opened if need be.
func (s *session) conn() *conn {
	if c := s.conns[s.via]; c != nil {
		return c
	}
	c, err := dial(s.ctx, s.addr)
	if err != nil {
		s.fail("%w", err)
	}
	s.conns[s.via] = c
	return c
}

// hangUp closes the session's connection.
func (s *session) hangUp() {
	if c := s.conns[s.via]; c != nil {
		_ = c.nc.Close()
		delete(s.conns, s.via)
	}
}

// pending is a request that is not answered yet.
type pending struct {
	s           *session
	req         kmsg.Request
	correlation int32
	label       string
	err         error // if it could not be sent
}

// start sends a request. Nothing else may be done on its connection until it is answered.
func (s *session) start(req kmsg.Request) *pending {
	c := s.conn()
	p := &pending{s: s, req: req, label: describe(req)}
	frame := c.frame(req)
	p.correlation = c.correlation
	p.err = c.write(frame)
	return p
}

// poll waits for the answer and returns it, nil with errNoAnswer if there is none yet.
func (p *pending) poll(limit time.Duration) (kmsg.Response, error) {
	if p.err != nil {
		p.s.hangUp()
		return nil, p.err
	}
	body, err := p.s.conn().read(limit)
	if err != nil {
		if err != errNoAnswer || limit >= answerLimit { //nolint:errorlint // never wrapped
			p.s.hangUp()
		}
		return nil, err
	}
	return decode(p.req, body, p.correlation)
}

// wait waits for the answer and writes it down.
func (p *pending) wait() kmsg.Response {
	resp, err := p.poll(answerLimit)
	p.s.answered(p.label, resp, err)
	if resp == nil {
		return p.req.ResponseKind()
	}
	return resp
}

// answered writes down what came of a request.
func (s *session) answered(label string, resp kmsg.Response, err error) {
	switch {
	case err != nil:
		s.note(label, err.Error())
	case !s.silent:
		s.step(label, s.canon.fields(resp))
	}
}

// note writes down something that was seen.
func (s *session) note(label, saw string) {
	if !s.silent {
		s.step(label, []field{{"", saw}})
	}
}

// step writes down a step under a label that no other step has.
func (s *session) step(label string, fields []field) {
	s.seen[label]++
	if n := s.seen[label]; n > 1 {
		label = fmt.Sprintf("%s (%d)", label, n)
	}
	s.steps = append(s.steps, step{label, fields})
}

// do sends a request, writes the answer down and returns it, empty if there was none.
func do[R kmsg.Response](s *session, req kmsg.Request) R {
	resp, ok := s.start(req).wait().(R)
	if !ok {
		s.fail("answer of another kind to %s", describe(req))
	}
	return resp
}

// send does the same for those who do not look at the answer.
func (s *session) send(req kmsg.Request) { s.start(req).wait() }

// must sends a request that is not under test, and ends the scenario unless ok says so.
func must[R kmsg.Response](s *session, req kmsg.Request, ok func(R) int16) R {
	answer, err := s.start(req).poll(answerLimit)
	if err != nil {
		s.fail("%s of the preparation: %w", describe(req), err)
	}
	resp, isR := answer.(R)
	if !isR {
		s.fail("answer of another kind to %s", describe(req))
	}
	if code := ok(resp); code != 0 {
		s.fail("%s of the preparation: %w", describe(req), kerr.ErrorForCode(code))
	}
	return resp
}

// raw sends bytes as a frame and writes down whether they are answered, and how if req says
// what they pretend to be.
func (s *session) raw(label string, frame []byte, req kmsg.Request) {
	c := s.conn()
	if err := c.write(frame); err != nil {
		s.hangUp()
		s.note(label, err.Error())
		return
	}
	body, err := c.read(answerLimit)
	if err != nil {
		s.hangUp()
		s.note(label, err.Error())
		return
	}
	if req == nil {
		s.note(label, "an answer")
		return
	}
	resp, err := decode(req, body, c.correlation)
	s.answered(label, resp, err)
}

// alive writes down whether the broker still answers a new connection.
func (s *session) alive() {
	s.on("alive").hangUp()
	req := kmsg.NewPtrApiVersionsRequest()
	body, err := func() ([]byte, error) {
		c := s.on("alive").conn()
		if err := c.write(c.frame(req)); err != nil {
			return nil, err
		}
		return c.read(answerLimit)
	}()
	s.note("still alive", fmt.Sprint(err == nil && len(body) > 4))
}

// await tries until done reports true.
func (s *session) await(what string, done func() bool) {
	limit := time.NewTimer(answerLimit)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit.C:
			s.fail("waited %s for %s", answerLimit, what)
		case <-s.ctx.Done():
			s.fail("wait for %s: %w", what, s.ctx.Err())
		}
	}
}

func describe(req kmsg.Request) string {
	return fmt.Sprintf("%s v%d", kmsg.Key(req.Key()).Name(), req.GetVersion())
}
