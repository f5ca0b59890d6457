package sink

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Config says what a Sink takes from where to where. Zero values mean the defaults.
type Config struct {
	// Client are the options by which brokers are reached.
	Client []kgo.Opt
	// Topic is read, as a member of Group.
	Topic, Group string
	// FromEnd starts a group without offsets at the end, else at the beginning.
	FromEnd bool
	// DeadLetterTopic takes what the target refuses; without one that ends the sink.
	DeadLetterTopic string
	// Target takes the records.
	Target Target

	// BatchSize and BatchBytes bound a batch: default 1 record, and 1 MiB of keys, values and
	// headers. A larger record goes alone.
	BatchSize, BatchBytes int
	// BatchWindow is how long a record waits for others: default 0, so that a batch is what is there.
	BatchWindow time.Duration
	// Concurrency is how many requests are under way at once: default 8.
	Concurrency int
	// MaxAttempts is how often a record is tried that makes the target fail: default 8.
	MaxAttempts int
	// Backoff is the first pause between attempts, which doubles up to MaxBackoff: default
	// 100 ms and 30 s. Half of each pause is by chance.
	Backoff, MaxBackoff time.Duration
	// Timeout is how long a request may take: default 30 s.
	Timeout time.Duration
	// SessionTimeout is how long the group waits for a member that shows no sign of life: default 15 s.
	SessionTimeout time.Duration
	// Drain is how long requests under way may go on when the sink ends or loses a partition: default 10 s.
	Drain time.Duration

	// Logger is required.
	Logger *slog.Logger
	// Registerer takes the metrics, if there is one.
	Registerer prometheus.Registerer
}

// Bounds of what waits in memory, in records and bytes.
const (
	minWaiting      = 1000
	maxWaitingBytes = 32 << 20
	maxPoll         = 5000
	maxBacklog      = 1 << 20 // settled records behind one that is not, of a partition
)

func (c Config) withDefaults() Config {
	c.BatchSize = cmp.Or(c.BatchSize, 1)
	c.BatchBytes = cmp.Or(c.BatchBytes, 1<<20)
	c.Concurrency = cmp.Or(c.Concurrency, 8)
	c.MaxAttempts = cmp.Or(c.MaxAttempts, 8)
	c.Backoff = cmp.Or(c.Backoff, 100*time.Millisecond)
	c.MaxBackoff = max(cmp.Or(c.MaxBackoff, 30*time.Second), c.Backoff)
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	c.SessionTimeout = cmp.Or(c.SessionTimeout, 15*time.Second)
	c.Drain = cmp.Or(c.Drain, 10*time.Second)
	return c
}

func (c Config) validate() error {
	switch {
	case c.Topic == "" || c.Group == "" || c.Target == nil:
		return errors.New("a sink needs a topic, a group and a target")
	case c.DeadLetterTopic == c.Topic:
		return errors.New("the dead-letter topic is the topic itself: choose another")
	case c.BatchSize < 1, c.BatchBytes < 1, c.Concurrency < 1, c.MaxAttempts < 1:
		return errors.New("batch size, batch bytes, concurrency and attempts must be 1 or more")
	case c.BatchWindow < 0, c.Backoff < 0, c.Timeout < 0, c.SessionTimeout < 0, c.Drain < 0:
		return errors.New("batch window, backoff and time limits must not be negative")
	}
	return nil
}

// waiting is how many records wait in memory at most, before the last poll.
func (c Config) waiting() int { return max(minWaiting, 2*c.BatchSize*c.Concurrency) }
