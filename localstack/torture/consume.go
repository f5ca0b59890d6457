package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// consumer is a member of a group, or, without one, reads every partition from its start.
type consumer struct {
	name, group string
	client      *kgo.Client
	rec         *recorder
	rng         *rand.Rand
	line        *line
	alone       bool // it is no member of a group
	committed   bool // it reads what is committed only
	cancel      context.CancelFunc
	done        chan struct{}
	got         map[oracle.Partition]int64 // the last offset; of the goroutine that polls

	mu       sync.Mutex
	assigned map[oracle.Partition]int // how often
	asked    time.Duration            // when partitions were assigned last: offsets were fetched after it
}

// The names that the coverage of consumers without a group is kept under: of one that reads
// everything and of one that reads what is committed.
const (
	tailGroup      = "tail"
	committedGroup = "committed-tail"
)

// memberSession is how long a group waits for a member that died. It is shorter than clients of Kafka may
// have it by default (group.min.session.timeout.ms), since all of the group waits meanwhile.
const memberSession = 4 * time.Second

// startMember starts a member of a group, which commits what it has got.
func startMember(l *load, group, name string) (*consumer, error) {
	c := newConsumer(l, group, name)
	return c, c.start(l, kgo.ConsumeTopics(l.topics...), kgo.ConsumerGroup(group),
		kgo.SessionTimeout(memberSession), kgo.HeartbeatInterval(time.Second), kgo.RebalanceTimeout(10*time.Second),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.OnPartitionsAssigned(c.onAssigned), kgo.OnOffsetsFetched(c.onFetched))
}

// startTail starts a consumer of all partitions, from their starts on. It does not trust
// the client to look at checksums, so that damage comes to light as what it is.
func startTail(l *load, group, name string) (*consumer, error) {
	c := newConsumer(l, group, name)
	c.alone = true
	from := map[string]map[int32]kgo.Offset{}
	for _, p := range l.partitions {
		if from[p.Topic] == nil {
			from[p.Topic] = map[int32]kgo.Offset{}
		}
		from[p.Topic][p.Index] = kgo.NewOffset().At(0)
	}
	return c, c.start(l, kgo.ConsumePartitions(from), kgo.DisableFetchCRCValidation())
}

func newConsumer(l *load, group, name string) *consumer {
	l.rec.join(group, name)
	return &consumer{
		got:  map[oracle.Partition]int64{},
		name: name, group: group, rec: l.rec, committed: l.rec.isolated(group), line: &line{}, done: make(chan struct{}), assigned: map[oracle.Partition]int{},
		rng: rand.New(rand.NewPCG(l.cfg.seed, xxhash.Sum64String(name))),
	}
}

func (c *consumer) start(l *load, opts ...kgo.Opt) (err error) {
	opts = append(l.clientOpts(c.name), append(opts, kgo.Dialer(c.line.dial), kgo.FetchMaxWait(time.Second),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if c.committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if c.client, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("start consumer %s: %w", c.name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go c.run(ctx)
	return nil
}

// onAssigned begins a new assignment of partitions.
func (c *consumer) onAssigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = c.rec.now()
	for topic, list := range added {
		for _, index := range list {
			c.assigned[oracle.Partition{Topic: topic, Index: index}]++
		}
	}
}

// onFetched notes where the group is. When it was asked is not known: it was after the
// partitions were assigned.
func (c *consumer) onFetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	c.mu.Lock()
	asked := c.asked
	c.mu.Unlock()
	noteFetched(c.rec, c.group, c.name, asked, resp)
	return nil
}

// noteFetched notes the offsets that a member of a group was told.
func noteFetched(rec *recorder, group, name string, asked time.Duration, resp *kmsg.OffsetFetchResponse) {
	for _, g := range resp.Groups { // from version 8 on, and the client fills in Topics too
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 {
					continue
				}
				rec.committed(oracle.Commit{
					Span: oracle.Span{Invoked: asked}, Group: group, Consumer: name, Fetched: true,
					Partition: oracle.Partition{Topic: t.Topic, Index: p.Partition}, Offset: p.Offset, Outcome: oracle.OK,
				})
			}
		}
	}
}

// hasAllBefore reports whether an error tells of the loss of records none of which the consumer was
// given. The client passes over the marker of a transaction without its epoch: if a new leader
// has written that, it takes the end of the epoch before for a loss.
func (c *consumer) hasAllBefore(err error) bool {
	var loss *kgo.ErrDataLoss
	if !errors.As(err, &loss) {
		return false
	}
	last, ok := c.got[oracle.Partition{Topic: loss.Topic, Index: loss.Partition}]
	return ok && last < loss.ResetTo
}

func (c *consumer) run(ctx context.Context) {
	defer close(c.done)
	for ctx.Err() == nil {
		invoked := c.rec.now()
		fetches := c.client.PollRecords(ctx, 1000)
		fetches.EachError(func(topic string, index int32, err error) {
			var rejoins *kgo.ErrGroupSession // which the client gets over by itself
			if ctx.Err() == nil && !errors.Is(err, kgo.ErrClientClosed) && !errors.As(err, &rejoins) && !c.hasAllBefore(err) {
				c.rec.clientError("%s: fetch %s-%d: %v", c.name, topic, index, err)
			}
		})
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if n := len(p.Records); n > 0 {
				c.got[partitionOf(p.Records[n-1])] = p.Records[n-1].Offset
			}
			c.note(invoked, p)
		})
		if !c.alone {
			if !fetches.Empty() && c.rng.IntN(2) == 0 { // so that others get some of it again
				c.commit(ctx)
			}
			c.client.AllowRebalance()
		}
	}
}

func (c *consumer) note(invoked time.Duration, p kgo.FetchTopicPartition) {
	if len(p.Records) == 0 {
		return
	}
	part := oracle.Partition{Topic: p.Topic, Index: p.Partition}
	c.mu.Lock()
	number := c.assigned[part]
	c.mu.Unlock()
	poll := oracle.Poll{Span: oracle.Span{Invoked: invoked}, Consumer: c.name, Assignment: number, Partition: part, Committed: c.committed}
	for _, r := range p.Records {
		poll.Records = append(poll.Records, seenRecord(r))
	}
	c.rec.polled(c.group, poll)
}

// commit commits all that was polled.
func (c *consumer) commit(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	invoked, offsets := c.rec.now(), c.client.UncommittedOffsets()
	c.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err == nil {
			noteCommit(c.rec, c.group, c.name, invoked, req, resp, oracle.Info) // an earlier try may have counted
			return
		}
		for topic, partitions := range offsets { // they may have been committed
			for index, at := range partitions {
				c.rec.committed(oracle.Commit{
					Span: oracle.Span{Invoked: invoked}, Group: c.group, Consumer: c.name,
					Partition: oracle.Partition{Topic: topic, Index: index}, Offset: at.Offset, Outcome: oracle.Info,
				})
			}
		}
	})
}

// noteCommit notes what was committed of a request; stale is the outcome of what was refused because the member is not up to date.
func noteCommit(rec *recorder, group, name string, invoked time.Duration, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, stale oracle.Outcome) {
	offsets := map[oracle.Partition]int64{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			offsets[oracle.Partition{Topic: t.Topic, Index: p.Partition}] = p.Offset
		}
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			part := oracle.Partition{Topic: t.Topic, Index: p.Partition}
			outcome := oracle.OK
			if p.ErrorCode != 0 {
				outcome = oracle.Info
				switch err := kerr.ErrorForCode(p.ErrorCode); {
				case staleMember(err):
					outcome = stale
				case !kerr.IsRetriable(err):
					rec.clientError("%s: commit %s: %v", name, part, err)
				}
			}
			rec.committed(oracle.Commit{
				Span: oracle.Span{Invoked: invoked}, Group: group, Consumer: name, Partition: part, Offset: offsets[part], Outcome: outcome,
			})
		}
	}
}

// staleMember reports whether an error only says that the member is not up to date.
func staleMember(err error) bool {
	for _, stale := range []error{kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.FencedInstanceID, kerr.StaleMemberEpoch} {
		if errors.Is(err, stale) {
			return true
		}
	}
	return false
}

// stop lets the consumer leave its group.
func (c *consumer) stop() {
	c.cancel()
	<-c.done
	c.client.CloseAllowingRebalance()
}

// die ends the consumer without a word to its group.
func (c *consumer) die() {
	c.line.cut()
	c.stop()
}
