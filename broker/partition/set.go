package partition

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/wal"
)

// producerSweep is how often it is looked at which producers have been silent for
// Config.ProducerExpiry (Kafka's producer.id.expiration.check.interval.ms).
const producerSweep = 10 * time.Minute

// Config has what a Set needs.
type Config struct {
	Tiers Tiers
	Node  id.Broker             // the partitions that this broker leads are kept
	Image func() *metalog.Image // the metadata as it is now
	// Streams reads what the stream of a session holds in its slots up to through. Set in
	// a cluster, where leadership comes and goes and the hot segments are a cache; nil on
	// a node alone, whose hot segments are the truth.
	Streams func(ctx context.Context, session id.Session, through uint64) ([]wal.Object, error)
	// Damaged says that the hot tier has reported damaged segments: a log with a gap
	// is then opened, and reads of the gap fail, where otherwise Open fails.
	Damaged bool
	// ProducerExpiry is how long a producer's state outlives its last batch, but for an open transaction.
	ProducerExpiry time.Duration
	Now            func() time.Time
	Logger         *slog.Logger
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

// Get returns the log of a partition that this broker leads and that is recovered. A
// partition that was created a moment ago gets its log here.
func (s *Set) Get(p id.Partition) (*Log, bool) {
	s.mu.RLock()
	l, ok := s.logs[p]
	s.mu.RUnlock()
	if ok {
		return l, true
	}
	state, ok := s.cfg.Image().Partition(p)
	if !ok || !s.fresh(state) {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[p]; ok {
		return l, true
	}
	// Again under the lock: a log of an older Image would be missed by the Apply of a newer one.
	if state, ok = s.cfg.Image().Partition(p); s.done || !ok || !s.fresh(state) {
		return nil, false
	}
	l = &Log{id: p, tiers: &s.cfg.Tiers, epoch: state.Epoch, start: state.Start}
	s.logs[p] = l
	return l, true
}

// fresh reports whether a partition is led here and has nothing to be recovered.
func (s *Set) fresh(state metalog.PartitionState) bool {
	return state.Leader == s.cfg.Node && (s.cfg.Streams == nil || state.Epoch == 0)
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

// Apply follows the metadata: the logs of deleted topics, and of partitions that others
// lead or have led since, are closed. On a node alone the epoch just rises.
func (s *Set) Apply(image *metalog.Image) {
	var gone []*Log
	s.mu.Lock()
	for p, l := range s.logs {
		state, ok := image.Partition(p)
		if !ok || state.Leader != s.cfg.Node || s.cfg.Streams != nil && state.Epoch != l.Watermarks().Epoch {
			delete(s.logs, p)
			gone = append(gone, l)
			continue
		}
		l.setEpoch(state.Epoch)
		l.MoveStart(state.Start)
	}
	s.mu.Unlock()
	for _, l := range gone {
		l.close()
	}
}

// Freeze ends appends to the partitions, so that their leadership can move, and waits
// until all that was appended to them is committed. It returns those that got there; with
// an error, that of ctx, not all did. Thaw, or the change of the leader, ends it.
func (s *Set) Freeze(ctx context.Context, ps []id.Partition) (ready []id.Partition, err error) {
	waits := make(map[id.Partition]<-chan struct{}, len(ps))
	for _, p := range ps {
		s.mu.RLock()
		l, ok := s.logs[p]
		s.mu.RUnlock()
		if ok {
			waits[p] = l.freeze()
		}
	}
	for p, drained := range waits {
		select {
		case <-drained:
		case <-ctx.Done():
		}
		select {
		case <-drained:
			ready = append(ready, p)
		default:
			err = fmt.Errorf("await the commits of %s: %w", p, context.Cause(ctx))
		}
	}
	slices.SortFunc(ready, id.Partition.Compare)
	return ready, err
}

// Thaw takes appends to the partitions again.
func (s *Set) Thaw(ps []id.Partition) {
	for _, p := range ps {
		s.mu.RLock()
		l, ok := s.logs[p]
		s.mu.RUnlock()
		if ok {
			l.thaw()
		}
	}
}

// Live reports whether the partition exists and is led here (for sealing).
func (s *Set) Live(p id.Partition) bool {
	state, ok := s.cfg.Image().Partition(p)
	return ok && state.Leader == s.cfg.Node
}

// Committed returns the high watermark of a partition that this broker leads, below which
// its records may be sealed, and 0 for another.
func (s *Set) Committed(p id.Partition) id.Offset {
	s.mu.RLock()
	l, ok := s.logs[p]
	s.mu.RUnlock()
	if !ok {
		return 0
	}
	return l.Watermarks().High
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

// sweep forgets producers that have been silent for Config.ProducerExpiry.
func (s *Set) sweep(ctx context.Context) {
	tick := time.NewTicker(producerSweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for l := range s.All() {
				l.expireProducers(s.cfg.Now(), s.cfg.ProducerExpiry)
			}
		}
	}
}
