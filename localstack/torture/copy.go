package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// copyGroup is the group that copies the first topic, in transactions.
const copyGroup = "copiers"

// copyTopic is what it is copied to, each partition to the one of the same number.
const copyTopic = "torture-copy"

// copier is a member of that group through all its lives: it reads what is committed, and
// writes copies and the group's offsets in one transaction. Now and then it aborts, or dies
// and comes back; then the group waits until the session of the one that died is over.
type copier struct {
	l      *load
	name   string // also its transactional id
	rng    *rand.Rand
	ctx    context.Context //nolint:containedctx // of the goroutine's life
	cancel context.CancelFunc
	quit   func()
	quits  chan struct{}
	done   chan struct{}

	mu    sync.Mutex
	asked time.Duration // when partitions were assigned last
}

func startCopier(l *load, number int) *copier {
	c := &copier{l: l, name: fmt.Sprintf("copier-%d", number), quits: make(chan struct{}), done: make(chan struct{})}
	c.rng = rand.New(rand.NewPCG(l.cfg.seed, xxhash.Sum64String(c.name)))
	c.quit = sync.OnceFunc(func() { close(c.quits) })
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.run()
	return c
}

// stopping reports whether the copier is to end.
func (c *copier) stopping() bool {
	select {
	case <-c.quits:
		return true
	default:
		return false
	}
}

func (c *copier) run() {
	defer close(c.done)
	for !c.stopping() {
		if err := c.live(); err != nil && c.ctx.Err() == nil {
			c.l.rec.clientError("%s: %v", c.name, err)
			select {
			case <-time.After(200 * time.Millisecond):
			case <-c.quits:
			}
		}
	}
}

// live is one life of the member, to the first error.
func (c *copier) live() (err error) {
	p := &transactional{
		l: c.l, id: c.name, number: firstTxnProducer + int(c.l.clients.Add(1)), timeout: txnTimeout,
		line: &line{losing: &c.l.losing, lost: &c.l.lost},
	}
	opts := append(c.l.clientOpts(c.name), append(p.opts(),
		kgo.ConsumeTopics(c.l.topics[0]), kgo.ConsumerGroup(copyGroup), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.SessionTimeout(memberSession), kgo.HeartbeatInterval(time.Second), kgo.RebalanceTimeout(10*time.Second),
		kgo.FetchMaxWait(500*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(c.onAssigned), kgo.OnOffsetsFetched(c.onFetched))...)
	session, err := kgo.NewGroupTransactSession(opts...)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	p.client = session.Client()
	defer func() {
		if err != nil || c.ctx.Err() != nil {
			p.line.cut()
		}
		session.Close()
	}()
	if err := p.takeOver(c.ctx); err != nil {
		return err
	}
	for !c.stopping() {
		dies, err := c.step(session, p)
		if err != nil {
			return err
		}
		if dies {
			c.l.rec.struck("copier died", 1)
			p.line.cut()
			return nil
		}
	}
	return nil
}

// step copies what one poll gives. dies says that the copier is to end in the middle of it.
func (c *copier) step(session *kgo.GroupTransactSession, p *transactional) (dies bool, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, 250*time.Millisecond) // so that the end of the load is seen
	fetches := session.PollRecords(ctx, 300)
	cancel()
	if fetches.Empty() || c.ctx.Err() != nil {
		return false, nil
	}
	txn := p.begin()
	if err := session.Begin(); err != nil {
		return false, fmt.Errorf("begin: %w", err)
	}
	fetches.EachRecord(func(r *kgo.Record) {
		of := seenRecord(r).Value
		p.produce(c.ctx, txn, oracle.Partition{Topic: copyTopic, Index: r.Partition}, nil, &of)
	})
	if err := p.flush(c.ctx); err != nil {
		return false, err
	}
	dice := c.rng.IntN(1000)
	if dice < 5 && !c.l.settling.Load() {
		return true, nil
	}
	return false, c.end(session, p, txn, dice >= 80)
}

// end commits the copies with the offsets of what was copied, or aborts both.
func (c *copier) end(session *kgo.GroupTransactSession, p *transactional, txn int, commit bool) error {
	ctx, cancel := context.WithTimeout(c.ctx, txnPatience)
	defer cancel()
	offsets, invoked := p.client.UncommittedOffsets(), c.l.rec.now()
	c.l.rec.asks(txn, commit)
	committed, err := session.End(ctx, kgo.TransactionEndTry(commit))
	outcome := oracle.Fail // also if the group has moved on, and so the session aborts
	switch {
	case committed && err == nil:
		outcome = oracle.OK
	case commit && err != nil:
		outcome = oracle.Info
	}
	c.l.rec.ended(txn, outcome)
	for topic, partitions := range offsets {
		for index, at := range partitions {
			c.l.rec.committed(oracle.Commit{
				Span: oracle.Span{Invoked: invoked}, Group: copyGroup, Consumer: c.name,
				Partition: oracle.Partition{Topic: topic, Index: index}, Offset: at.Offset, Outcome: outcome,
			})
		}
	}
	if err != nil {
		return fmt.Errorf("end, commit %t: %w", commit, err)
	}
	return nil
}

func (c *copier) onAssigned(context.Context, *kgo.Client, map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = c.l.rec.now()
}

func (c *copier) onFetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	c.mu.Lock()
	asked := c.asked
	c.mu.Unlock()
	noteFetched(c.l.rec, copyGroup, c.name, asked, resp)
	return nil
}

// stop lets the copier end what it has begun and leave; ctx bounds that.
func (c *copier) stop(ctx context.Context) error {
	c.quit()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		c.cancel()
		<-c.done
		return fmt.Errorf("stop %s: it did not come to the end of its transaction: %w", c.name, context.Cause(ctx))
	}
}

// awaitCopied waits until the copiers have committed offsets past all that is known to be committed.
func (l *load) awaitCopied(ctx context.Context) error {
	if len(l.copiers) == 0 {
		return nil
	}
	for {
		offsets, err := l.copyOffsets(ctx)
		var behind []string
		l.rec.mu.Lock()
		for p, at := range offsets {
			if high := l.rec.committedTo(p); at <= high {
				behind = append(behind, fmt.Sprintf("%s is at %d of %d", p, at, high+1))
			}
		}
		l.rec.mu.Unlock()
		if err == nil && len(behind) == 0 {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			slices.Sort(behind)
			return fmt.Errorf("await the copies of %s: %s: %w", l.topics[0], strings.Join(behind, ", "), errors.Join(err, context.Cause(ctx)))
		}
	}
}

// copyOffsets returns the offsets that the copiers have committed, -1 where they have none,
// when no transaction is pending on them.
func (l *load) copyOffsets(ctx context.Context) (offsets map[oracle.Partition]int64, err error) {
	err = l.admin(func(a *kadm.Client) error {
		got, err := a.FetchOffsets(kadm.RequireStable(ctx), copyGroup)
		if err == nil {
			err = got.Error()
		}
		if err != nil {
			return fmt.Errorf("fetch offsets of %s: %w", copyGroup, err)
		}
		offsets = map[oracle.Partition]int64{}
		for _, p := range l.partitions {
			if p.Topic != l.topics[0] {
				continue
			}
			offsets[p] = -1
			if at, ok := got.Lookup(p.Topic, p.Index); ok {
				offsets[p] = at.At
			}
		}
		return nil
	})
	return offsets, err
}

// noteCopies notes how far the copiers have come, for the reads of a name.
func (l *load) noteCopies(ctx context.Context, name string) error {
	if l.cfg.copiers == 0 {
		return nil
	}
	for {
		offsets, err := l.copyOffsets(ctx)
		if err == nil {
			var list []oracle.Copy
			for p, at := range offsets {
				list = append(list, oracle.Copy{Name: name, Group: copyGroup, From: p, To: oracle.Partition{Topic: copyTopic, Index: p.Index}, Offset: at})
			}
			l.rec.copied(list)
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
