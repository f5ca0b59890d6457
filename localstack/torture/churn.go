package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// churned is the group whose members come and go.
const churned = "group-1"

// churn lets members of a group join, leave in good order and die without a word. The dead
// come back when the group has gone on without them, and try to commit what they had.
func churn(ctx context.Context, e *env) error {
	guests := &guests{env: e}
	defer guests.leave()
	return e.rounds(ctx, 300*time.Millisecond, 1500*time.Millisecond, func(int) error { return guests.churn(ctx) })
}

// guests are members of a group that come and go.
type guests struct {
	*env
	here   []*consumer
	joined int
}

// churn lets one of them join, leave or die.
func (g *guests) churn(ctx context.Context) error {
	if len(g.here) == 0 || len(g.here) < 3 && g.rng.IntN(2) == 0 {
		g.joined++
		guest, err := startMember(g.load, churned, fmt.Sprintf("g1-guest%d", g.joined))
		if err != nil {
			return err
		}
		g.rec.struck("member joined", 1)
		g.here = append(g.here, guest)
		return nil
	}
	guest := g.here[0]
	g.here = g.here[1:]
	if g.rng.IntN(2) == 0 {
		g.rec.struck("member left", 1)
		guest.stop()
		return nil
	}
	g.rec.struck("member died", 1)
	member, generation := guest.client.GroupMetadata()
	guest.die()
	if member == "" || g.rng.IntN(2) == 0 {
		return nil
	}
	return g.commitAsDead(ctx, member, generation)
}

// leave lets all leave that are here.
func (g *guests) leave() {
	for _, guest := range g.here {
		guest.stop()
	}
}

// commitAsDead commits offset 0 for a member when the group has thrown it out.
func (e *env) commitAsDead(ctx context.Context, member string, generation int32) error {
	byName := kgo.MaxVersions(kversion.V3_9_0()) // later ones name topics by their ids
	client, err := kgo.NewClient(append(e.load.clientOpts("dead-member"), byName)...)
	if err != nil {
		return fmt.Errorf("start a client: %w", err)
	}
	defer client.Close()
	if err := awaitGone(ctx, kadm.NewClient(client), member); err != nil {
		return err
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.MemberID = churned, generation, member
	for _, topic := range e.load.topics {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic = topic
		for index := range e.cfg.partitions {
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition = int32(index)
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	invoked := e.rec.now()
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil // nothing is known, and the load goes on
	}
	e.rec.struck("commit of a dead member", 1)
	noteCommit(e.rec, churned, "dead-"+member, invoked, req, resp, oracle.Fail) // it was out before the first try
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); !staleMember(err) && !kerr.IsRetriable(err) {
				e.found(acceptedOldEpoch, "%s of generation %d could commit %s-%d: %v", member, generation, t.Topic, p.Partition, err)
			}
		}
	}
	return nil
}

// awaitGone waits until a member is none of the group any more.
func awaitGone(ctx context.Context, a *kadm.Client, member string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		described, err := a.DescribeGroups(ctx, churned)
		if err == nil {
			err = described.Error()
		}
		if err == nil {
			there := false
			for _, m := range described[churned].Members {
				there = there || m.MemberID == member
			}
			if !there {
				return nil
			}
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("await the end of member %s: %w", member, errors.Join(err, ctx.Err()))
		}
	}
}
