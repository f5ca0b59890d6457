package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Sink delivers the records of a topic, as far as its group gives it their partitions. Its
// fields below the channels belong to its loop alone.
type Sink struct {
	cfg     Config
	client  *kgo.Client
	metrics *metrics

	room    chan struct{}   // a poll is welcome
	fetched chan fetched    // what it brought
	landed  chan *flight    // deliveries that have ended
	revokes chan revocation // partitions that were taken away
	done    chan struct{}   // closed when the loop has ended

	queue      *queue
	partitions map[int32]*progress
	flights    map[*flight]bool
	polling    bool
	gate       time.Time // no delivery begins before
	leaving    []*revocation
	stopping   bool
	fatal      error // that ends the sink
	backlog    int   // most records of a partition that are not committed
}

// fetched is what a poll brought.
type fetched struct {
	records []*kgo.Record
	highs   map[int32]int64 // high watermarks
}

// revocation is partitions that were taken away. done is closed when none of their records is
// in flight; at deadline they are given up.
type revocation struct {
	partitions []int32
	deadline   time.Time
	done       chan struct{}
}

// New makes a sink. It fails if one of its topics does not exist, or no broker can be asked.
func New(ctx context.Context, cfg Config) (*Sink, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := checkTopics(ctx, cfg); err != nil {
		return nil, err
	}
	return &Sink{
		cfg: cfg, metrics: newMetrics(cfg.Registerer),
		room: make(chan struct{}), fetched: make(chan fetched), landed: make(chan *flight, cfg.Concurrency),
		revokes: make(chan revocation), done: make(chan struct{}),
		queue: newQueue(cfg.BatchSize, cfg.BatchBytes, cfg.BatchWindow), partitions: map[int32]*progress{}, flights: map[*flight]bool{},
	}, nil
}

func checkTopics(ctx context.Context, cfg Config) error {
	client, err := kgo.NewClient(cfg.Client...)
	if err != nil {
		return fmt.Errorf("make the client of a sink: %w", err)
	}
	defer client.Close()
	names := []string{cfg.Topic}
	if cfg.DeadLetterTopic != "" {
		names = append(names, cfg.DeadLetterTopic)
	}
	found, err := kadm.NewClient(client).ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("look for topic %s: %w", cfg.Topic, err)
	}
	for _, name := range names {
		if err := found[name].Err; err != nil {
			return fmt.Errorf("look for topic %s: %w", name, err)
		}
	}
	return nil
}

// join makes the client, which becomes a member of the group.
func (s *Sink) join() (err error) {
	start := kgo.NewOffset().AtStart()
	if s.cfg.FromEnd {
		start = kgo.NewOffset().AtEnd()
	}
	opts := append(s.cfg.Client[:len(s.cfg.Client):len(s.cfg.Client)],
		kgo.ConsumerGroup(s.cfg.Group), kgo.ConsumeTopics(s.cfg.Topic), kgo.ConsumeResetOffset(start),
		kgo.SessionTimeout(s.cfg.SessionTimeout), kgo.HeartbeatInterval(s.cfg.SessionTimeout/5),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxBytes(16<<20),
		kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(s.onAssigned), kgo.OnPartitionsRevoked(s.onRevoked), kgo.OnPartitionsLost(s.onLost),
		kgo.AutoCommitCallback(s.onCommit), kgo.ProducerLinger(0),
	)
	if s.client, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("make the client of a sink: %w", err)
	}
	return nil
}

// Ready returns nil once the group has given this member its partitions, which may be none.
func (s *Sink) Ready() error {
	if s.metrics.joined.Load() {
		return nil
	}
	return fmt.Errorf("group %s has not given partitions yet", s.cfg.Group)
}

// Run delivers until ctx ends, which is no error, or until a record can neither be delivered nor
// dead-lettered. It then waits for the requests under way, commits, leaves the group and closes the client. It may be called once.
func (s *Sink) Run(ctx context.Context) error {
	if err := s.join(); err != nil {
		return err
	}
	polls, stop := context.WithCancel(ctx)
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		s.poll(polls)
	}()
	s.loop(ctx)
	stop()
	<-polled
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Drain)
	defer cancel()
	err := s.fatal
	if commit := s.client.CommitMarkedOffsets(closing); commit != nil {
		err = errors.Join(err, fmt.Errorf("commit the last offsets of group %s; what they count will be delivered again: %w", s.cfg.Group, commit))
	}
	if leave := s.client.LeaveGroupContext(closing); leave != nil {
		s.cfg.Logger.Warn("cannot leave the group, which will wait for this member until its session has timed out", "err", leave)
	}
	s.client.Close()
	return err
}

// poll brings records whenever there is room. It holds up rebalances only while the loop takes
// what it has brought.
func (s *Sink) poll(ctx context.Context) {
	for {
		select {
		case <-s.room:
		case <-ctx.Done():
			return
		}
		fetches := s.client.PollRecords(ctx, min(s.cfg.waiting(), maxPoll))
		got := fetched{records: fetches.Records(), highs: map[int32]int64{}}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if p.Err == nil {
				got.highs[p.Partition] = p.HighWatermark
			} else if ctx.Err() == nil {
				s.cfg.Logger.Warn("cannot read; trying again", "topic", p.Topic, "partition", p.Partition, "err", p.Err)
			}
		})
		select {
		case s.fetched <- got:
		case <-s.done:
		}
		s.client.AllowRebalance()
	}
}

func (s *Sink) onAssigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	s.metrics.joined.Store(true)
	s.cfg.Logger.Info("partitions assigned", "topic", s.cfg.Topic, "partitions", added[s.cfg.Topic])
}

// onRevoked waits until none of the partitions' records is in flight, and commits, before the
// next member gets them.
func (s *Sink) onRevoked(ctx context.Context, client *kgo.Client, revoked map[string][]int32) {
	s.giveUp(ctx, revoked[s.cfg.Topic], s.cfg.Drain)
	if err := client.CommitMarkedOffsets(ctx); err != nil {
		s.cfg.Logger.Warn("cannot commit before partitions are given away; some records will be delivered again", "err", err)
	}
}

// onLost gives partitions up that another member may have by now.
func (s *Sink) onLost(ctx context.Context, _ *kgo.Client, lost map[string][]int32) {
	s.giveUp(ctx, lost[s.cfg.Topic], 0)
}

func (s *Sink) giveUp(ctx context.Context, partitions []int32, within time.Duration) {
	if len(partitions) == 0 {
		return
	}
	s.cfg.Logger.Info("partitions revoked", "topic", s.cfg.Topic, "partitions", partitions)
	r := revocation{partitions: partitions, deadline: time.Now().Add(within), done: make(chan struct{})}
	select {
	case s.revokes <- r:
	case <-s.done:
		return
	}
	select {
	case <-r.done:
	case <-s.done:
	case <-ctx.Done():
	}
}

// onCommit tells of commits that fail. They are tried again with the next one.
func (s *Sink) onCommit(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		s.cfg.Logger.Warn("cannot commit offsets; trying again", "group", s.cfg.Group, "err", err)
	}
}
