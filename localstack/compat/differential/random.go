package differential

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// seeds is how many random sequences there are of each kind.
const seeds = 6

// randomScenarios are sequences of requests drawn by chance over few ids, the same for both
// brokers. A case's name has the seed.
func randomScenarios() []scenario {
	var all []scenario
	for seed := uint64(1); seed <= seeds; seed++ {
		all = append(all,
			scenario{fmt.Sprintf("groups seed %d", seed), func(s *session) { randomGroup(s, rand.New(rand.NewPCG(seed, 1))) }},
			scenario{fmt.Sprintf("transactions seed %d", seed), func(s *session) { randomTransactions(s, rand.New(rand.NewPCG(seed, 2))) }},
		)
	}
	return all
}

// player is a member of a group as a client keeps it.
type player struct {
	on         *session
	id         string
	generation int32
	waiting    *pending
	others     []string // ids that its last join named, if it leads
}

// calm is how long an answer may take that is not waiting for another member.
const calm = 250 * time.Millisecond

// randomGroup plays three members of one group.
func randomGroup(s *session, dice *rand.Rand) {
	group, topic := s.group("g"), s.topic("t", 1)
	s.send(commit(8, group, "", -1, topic, 0, 1)) // from here on the group is known
	players := make([]*player, 3)
	for i := range players {
		players[i] = &player{on: s.on(fmt.Sprint(i))}
	}
	for range 30 {
		p := players[dice.IntN(len(players))]
		op, odd := dice.IntN(10), int32(dice.IntN(8)/7) // odd: now and then a wrong generation
		if p.waiting == nil {
			p.act(op, odd, group, topic)
		}
		for i, q := range players {
			q.look(s, i)
		}
		s.send(describeGroup(5, group))
	}
}

// act sends what the dice say.
func (p *player) act(op int, odd int32, group, topic string) {
	switch generation := p.generation + odd; op {
	case 0, 1, 2:
		req := join(4, group, p.id)
		req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 60000, 60000
		p.waiting = p.on.start(req)
	case 3, 4, 5:
		p.waiting = p.on.start(syncGroup(3, group, p.id, generation, p.others...))
	case 6, 7:
		p.on.send(heartbeat(3, group, p.id, generation))
	case 8:
		p.on.send(commit(8, group, p.id, generation, topic, 0, int64(generation)))
	case 9:
		p.on.send(leave(3, group, p.id))
	}
}

// look takes an answer that has come.
func (p *player) look(s *session, number int) {
	if p.waiting == nil {
		return
	}
	resp, err := p.waiting.poll(calm)
	if err == errNoAnswer { //nolint:errorlint // never wrapped
		return
	}
	s.answered(fmt.Sprintf("answer to %d: %s", number, p.waiting.label), resp, err)
	p.waiting = nil
	joined, ok := resp.(*kmsg.JoinGroupResponse)
	switch {
	case !ok:
	case joined.ErrorCode == 25: // UNKNOWN_MEMBER_ID
		p.id = ""
	case joined.MemberID != "":
		p.id, p.generation, p.others = joined.MemberID, max(joined.Generation, 0), nil
		for _, m := range joined.Members {
			p.others = append(p.others, m.MemberID)
		}
	}
}

// randomTransactions plays two transactional producers on two partitions, one of each version
// of the transactions.
func randomTransactions(s *session, dice *rand.Rand) {
	topic, group := s.topic("t", 2), s.group("g")
	producers := []*txn{s.transactional("a"), s.transactional("b")}
	for partition := range int32(2) { // see idempotenceEmpty
		s.send(produce(topic, partition, encode(newBatch("begun"))))
	}
	next := map[string]int32{} // sequences by producer, epoch and partition
	for range 40 {
		which, op, partition := dice.IntN(2), dice.IntN(12), int32(dice.IntN(2))
		t, produces, ends := producers[which], []int16{11, 12}[which], []int16{4, 5}[which]
		commits, odd := dice.IntN(3) > 0, dice.IntN(10) == 0
		at := fmt.Sprint(t.name, t.id, t.epoch, partition)
		switch op {
		case 0:
			t.ended(ends, false) // a fence takes epochs of its own, see known_table.go
			s.send(initProducer(4, &t.name, 60000))
			t.init()
		case 1, 2, 3:
			if which == 0 { // the second version adds by itself
				s.send(t.add(3, topic, partition))
			}
		case 4, 5, 6, 7:
			sequence := next[at]
			if odd {
				sequence++
			}
			resp := do[*kmsg.ProduceResponse](s, t.produce(produces, topic, partition, sequence, "v"))
			if len(resp.Topics) == 1 && resp.Topics[0].Partitions[0].ErrorCode == 0 {
				next[at] = sequence + 1
			}
		case 8:
			if which == 0 {
				s.send(t.addOffsets(3, group))
			}
			s.send(t.commitOffset([]int16{3, 5}[which], group, topic, partition, int64(op)))
		case 9, 10, 11:
			t.ended(ends, commits)
		}
		if odd {
			s.note("state", t.state())
		}
	}
	for partition := range int32(2) {
		for _, level := range []int8{0, 1} {
			req := fetch(12, topic, partition, 0)
			req.IsolationLevel = level
			s.send(req)
		}
	}
}
