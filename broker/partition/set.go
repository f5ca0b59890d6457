package partition

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/producers"
)

// ProducerExpiry is how long a producer's state outlives its last batch, and
// producerSweep how often that is looked at (Kafka's producer.id.expiration.ms
// and producer.id.expiration.check.interval.ms).
const (
	ProducerExpiry = 24 * time.Hour
	producerSweep  = 10 * time.Minute
)

// Config has what a Set needs.
type Config struct {
	Tiers Tiers
	Node  id.Broker             // the partitions that this broker leads are kept
	Image func() *metalog.Image // the metadata as it is now
	// Damaged says that the hot tier has reported damaged segments: a log with a gap
	// is then opened, and reads of the gap fail, where otherwise Open fails.
	Damaged bool
	Now     func() time.Time
	Logger  *slog.Logger
}

// Set holds the logs of all partitions that one broker leads.
type Set struct {
	cfg  Config
	mu   sync.RWMutex
	logs map[id.Partition]*Log
	done bool

	stop context.CancelFunc
	idle sync.WaitGroup
}

// Replayer is the part of journal.Journal that recovery reads.
type Replayer interface {
	Replay(ctx context.Context, from func(id.Partition) id.Offset, visit func(id.Partition, journal.Entry, batch.View) error) error
}

// Open recovers every partition that the broker leads: the end of its chain, the
// producers of its last sealed segment, and then what the hot segments hold
// beyond. Until Open returns nothing is served.
func Open(ctx context.Context, cfg Config, hot Replayer) (*Set, error) {
	s := &Set{cfg: cfg, logs: make(map[id.Partition]*Log)}
	for _, t := range cfg.Image().Topics() {
		for i, p := range t.Partitions {
			if p.Leader != cfg.Node {
				continue
			}
			l, err := s.recover(ctx, id.Partition{Topic: t.ID, Index: int32(i)}, p.Epoch)
			if err != nil {
				return nil, err
			}
			s.logs[l.id] = l
		}
	}
	from := func(p id.Partition) id.Offset {
		if l, ok := s.logs[p]; ok {
			return l.next
		}
		return math.MaxInt64
	}
	err := hot.Replay(ctx, from, func(p id.Partition, e journal.Entry, v batch.View) error {
		l := s.logs[p]
		if e.Base != l.next && !cfg.Damaged {
			return fmt.Errorf("replay %s: found offset %d where %d follows: a hot segment is missing; restore it, or see forebay verify", p, e.Base, l.next)
		}
		if e.Base != l.next {
			cfg.Logger.Error("open a log with a damaged range; reads of it will fail", "partition", p.String(), "from", l.next, "to", e.Base)
		}
		l.apply(v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, l := range s.logs {
		l.committed = l.next // what survived a restart on this disk was synced or is now
	}
	background, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.idle.Go(func() { s.sweep(background) })
	return s, nil
}

// recover builds the log of one partition from its chain.
func (s *Set) recover(ctx context.Context, p id.Partition, epoch id.Epoch) (*Log, error) {
	l := &Log{id: p, tiers: &s.cfg.Tiers, epoch: epoch}
	end, last, sealed, err := s.cfg.Tiers.Chain.End(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("recover %s: %w", p, err)
	}
	if !sealed {
		return l, nil
	}
	l.next = end
	states, err := s.sealedProducers(ctx, p, last.Object, last.ObjectSize)
	if err != nil {
		return nil, fmt.Errorf("recover the producers of %s: %w", p, err)
	}
	l.producers.Restore(states)
	return l, nil
}

func (s *Set) sealedProducers(ctx context.Context, p id.Partition, object string, size int64) ([]producers.State, error) {
	footer, err := s.cfg.Tiers.Cold.Footer(ctx, object, size)
	if err != nil {
		return nil, err
	}
	run, ok := footer.Run(p)
	if !ok {
		return nil, fmt.Errorf("pack %s has no run of it", object)
	}
	return run.Producers, nil
}

// Get returns the log of a partition that this broker leads. A partition that
// was created a moment ago gets its log here.
func (s *Set) Get(p id.Partition) (*Log, bool) {
	s.mu.RLock()
	l, ok := s.logs[p]
	s.mu.RUnlock()
	if ok {
		return l, true
	}
	state, ok := s.cfg.Image().Partition(p)
	if !ok || state.Leader != s.cfg.Node {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return nil, false
	}
	if l, ok := s.logs[p]; ok {
		return l, true
	}
	l = &Log{id: p, tiers: &s.cfg.Tiers, epoch: state.Epoch}
	s.logs[p] = l
	return l, true
}

// Len is the number of logs that are open.
func (s *Set) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.logs)
}

// All yields the logs that are open now, in no order.
func (s *Set) All() iter.Seq[*Log] {
	s.mu.RLock()
	logs := make([]*Log, 0, len(s.logs))
	for _, l := range s.logs {
		logs = append(logs, l)
	}
	s.mu.RUnlock()
	return func(yield func(*Log) bool) {
		for _, l := range logs {
			if !yield(l) {
				return
			}
		}
	}
}

// Apply follows the metadata: logs of deleted topics are closed, epochs raised.
func (s *Set) Apply(image *metalog.Image) {
	var gone []*Log
	s.mu.Lock()
	for p, l := range s.logs {
		state, ok := image.Partition(p)
		if !ok || state.Leader != s.cfg.Node {
			delete(s.logs, p)
			gone = append(gone, l)
			continue
		}
		l.setEpoch(state.Epoch)
	}
	s.mu.Unlock()
	for _, l := range gone {
		l.close()
	}
}

// Live reports whether the partition exists and is led here (for sealing).
func (s *Set) Live(p id.Partition) bool {
	state, ok := s.cfg.Image().Partition(p)
	return ok && state.Leader == s.cfg.Node
}

// Wake completes every parked fetch, so that it is answered with what there is.
func (s *Set) Wake() {
	for l := range s.All() {
		l.wake()
	}
}

// Close ends appends and wakes all parked fetches.
func (s *Set) Close() {
	s.mu.Lock()
	s.done = true
	s.mu.Unlock()
	for l := range s.All() {
		l.close()
	}
	s.stop()
	s.idle.Wait()
}

// sweep forgets producers that have been silent for ProducerExpiry.
func (s *Set) sweep(ctx context.Context) {
	tick := time.NewTicker(producerSweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for l := range s.All() {
				l.expireProducers(s.cfg.Now(), ProducerExpiry)
			}
		}
	}
}
