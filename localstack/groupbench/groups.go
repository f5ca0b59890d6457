package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/localstack/rig"
)

// joiners is how many groups form at a time; each of their members needs a connection, since
// an answer to a join holds up what follows it.
const joiners = 20

// heartbeats forms many groups on one coordinator and lets their members send heartbeats
// and commits at the pace of ordinary consumers.
func heartbeats(ctx context.Context, b *bench, node *rig.Node) error {
	const topic = "heartbeats"
	if err := createTopic(ctx, node.Addr, topic, b.members); err != nil {
		return err
	}
	conns, err := dialAll(ctx, node.Addr, joiners*b.members)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	members := make([]*member, b.groups*b.members)
	began := time.Now()
	// Member j of each group joins on a connection of its own; joiners groups at a time.
	err = parallel(len(conns), func(i int) error {
		for g := i / b.members; g < b.groups; g += joiners {
			j := i % b.members
			m := &member{group: fmt.Sprintf("group-%d", g), number: j, topic: topic, session: time.Minute}
			if err := m.join(conns[i]); err != nil {
				return err
			}
			members[g*b.members+j] = m
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.note("groups formed, s", time.Since(began).Seconds())
	return b.beat(ctx, node, conns, members)
}

// The pace of an ordinary consumer.
const (
	beatEvery   = 3 * time.Second
	commitEvery = 5 * time.Second
)

// beat sends heartbeats and commits of all members, evenly spread over connections and time.
func (b *bench) beat(ctx context.Context, node *rig.Node, conns []*conn, members []*member) error {
	var mu sync.Mutex
	var beats, commits []time.Duration
	late := 0
	before, err := rig.ReadUsage(node.PID())
	if err != nil {
		return err
	}
	began := time.Now()
	end := began.Add(time.Duration(b.seconds) * time.Second)
	err = parallel(len(conns), func(i int) error {
		var own []*member
		for k := i; k < len(members); k += len(conns) {
			own = append(own, members[k])
		}
		next := began.Add(beatEvery * time.Duration(i) / time.Duration(len(conns)))
		step := beatEvery / time.Duration(max(1, len(own)))
		due := make([]time.Time, len(own)) // of each member's next commit
		for k := range due {
			due[k] = began.Add(commitEvery * time.Duration(k) / time.Duration(len(own)))
		}
		var b1, c1 []time.Duration
		behind := 0
		for k := 0; len(own) > 0 && time.Now().Before(end) && ctx.Err() == nil; k = (k + 1) % len(own) {
			time.Sleep(time.Until(next))
			if time.Since(next) > beatEvery/10 {
				behind++
			}
			next = next.Add(step)
			at := time.Now()
			if err := own[k].heartbeat(conns[i]); err != nil {
				return fmt.Errorf("heartbeat of %s: %w", own[k].group, err)
			}
			b1 = append(b1, time.Since(at))
			if time.Now().After(due[k]) {
				due[k] = due[k].Add(commitEvery)
				at = time.Now()
				if err := own[k].commit(conns[i], at.UnixMilli(), int32(own[k].number)); err != nil {
					return err
				}
				c1 = append(c1, time.Since(at))
			}
		}
		mu.Lock()
		defer mu.Unlock()
		beats, commits, late = append(beats, b1...), append(commits, c1...), late+behind
		return nil
	})
	took := time.Since(began)
	after, uerr := rig.ReadUsage(node.PID())
	if err := errors.Join(err, uerr); err != nil {
		return err
	}
	b.note("heartbeats a second", float64(len(beats))/took.Seconds())
	b.note("commits a second", float64(len(commits))/took.Seconds())
	b.note("requests sent late", float64(late))
	b.noteTimes("heartbeat", beats)
	b.noteTimes("commit", commits)
	b.note("broker CPU, cores", (after.CPU-before.CPU).Seconds()/took.Seconds())
	b.note("broker memory, MiB", float64(after.RSS)/(1<<20))
	return nil
}

// settleSession and settleBeat are the session timeout and the pace of heartbeats of the
// group that a member dies in.
const (
	settleSession = 6 * time.Second
	settleBeat    = time.Second
)

// settle forms one large group, lets a member die and takes the time until all others have
// an assignment without it.
func settle(ctx context.Context, b *bench, node *rig.Node) error {
	const topic = "settle"
	if err := createTopic(ctx, node.Addr, topic, 1); err != nil {
		return err
	}
	conns, err := dialAll(ctx, node.Addr, b.large)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	members := make([]*member, b.large)
	began := time.Now()
	err = parallel(len(conns), func(i int) error {
		members[i] = &member{group: "large", number: i, topic: topic, session: settleSession}
		return members[i].join(conns[i])
	})
	if err != nil {
		return err
	}
	b.note("formed, s", time.Since(began).Seconds())
	var all, beyond []time.Duration
	for range b.deaths {
		died := time.Now()
		members, conns = members[1:], conns[1:] // the one that is left out says nothing more
		if err := awaitSettled(ctx, conns, members); err != nil {
			return err
		}
		all = append(all, time.Since(died))
		beyond = append(beyond, time.Since(died)-settleSession)
	}
	b.noteTimes("from a death", all)
	b.noteTimes("from the end of the session", beyond)
	return nil
}

// awaitSettled sends heartbeats until each member was told of a rebalance and has joined again.
func awaitSettled(ctx context.Context, conns []*conn, members []*member) error {
	return parallel(len(conns), func(i int) error {
		began, generation := time.Now(), members[i].generation
		for n := 1; members[i].generation == generation; n++ {
			if ctx.Err() != nil || time.Since(began) > 2*time.Minute {
				return fmt.Errorf("member %d was not told of a rebalance: %w", members[i].number, ctx.Err())
			}
			time.Sleep(time.Until(began.Add(settleBeat*time.Duration(n) - settleBeat*time.Duration(i)/time.Duration(len(conns)))))
			err := members[i].heartbeat(conns[i])
			if errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.IllegalGeneration) {
				err = members[i].join(conns[i])
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func dialAll(ctx context.Context, addr string, n int) ([]*conn, error) {
	var conns []*conn
	for range n {
		c, err := dial(ctx, addr)
		if err != nil {
			closeAll(conns)
			return nil, fmt.Errorf("connect to %s: %w", addr, err)
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}

// parallel calls f for 0 to n-1, each in a goroutine of its own, and returns all errors.
func parallel(n int, f func(int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
