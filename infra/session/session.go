// Package session is the lease by which a broker is known to be alive: one item for
// each node id in a kv.Store, which its holder renews, so that its version changes. An
// observer times an unchanged version with its own monotonic clock; wall clocks are never
// compared. All brokers of a cluster must have the same TTL.
//
// The holder counts its deadline from before it sent a renewal, less a margin; an observer
// counts from after it first read the version. So a holder is not valid any more
// when an observer finds its item expired, unless it has renewed since, and then the kill fails.
//
// Valid is a promise to stop in time, not a fence: a machine that was suspended may take itself
// for valid for the length of one call. What fences is the next slot of the session's WAL stream.
//
// Commit points are the conditional writes of the one item:
//
//   - Open: the put. A crash before leaves nothing; a crash after leaves an item that expires.
//   - A renewal: the put. A crash before or after it is the same: the item expires.
//   - Kill: the delete of the version seen. A crash before leaves an item that another
//     observer kills; a crash after leaves no item, and what follows from the death (fences, new
//     leaders) is for the metadata log to find undone.
//   - Close: the delete. A crash before leaves an item that expires.
//
// A put of Open that was thought lost may be applied when the session has ended. The item then
// expires like any other: the session does not come back, as it knows only writes that
// followed on its last version.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Errors of this package.
var (
	// ErrInUse: another live broker has the node id.
	ErrInUse = errors.New("node id in use")
	// ErrLost: the session was declared dead or taken over; it never becomes valid again.
	ErrLost = errors.New("session lost")
	// ErrClosed: the session was closed by its owner.
	ErrClosed = errors.New("session closed")
	// ErrAlive: the holder has renewed since it was seen. Nothing was deleted.
	ErrAlive = errors.New("session alive")
	// ErrCorrupt: an item is not what this package writes.
	ErrCorrupt = errors.New("session item damaged")
	// ErrNewer: a newer Forebay wrote the item. Upgrade this one.
	ErrNewer = errors.New("session item written by a newer Forebay")
)

// DefaultTTL is the time after which an item that is not renewed counts as dead.
const DefaultTTL = 3 * time.Second

// Config is what Open needs.
type Config struct {
	Store  kv.Store      // the control table
	Node   id.Broker     // from 0
	ID     id.Session    // never used before; by default a new one
	Info   string        // where the broker can be found, for messages
	TTL    time.Duration // by default DefaultTTL; the same in all brokers
	Renew  time.Duration // time from one renewal to the next and the longest wait for one; by default TTL/3, at most TTL/2
	Logger *slog.Logger  // by default none

	Features map[string]Levels // that the broker supports, by name (KIP-584)

	// OnChange is told what Valid has turned to, in order, from a goroutine of the
	// session; the first change is to false. Changes that follow fast on each other may be left
	// out. The loss of the session is a change; Close is not. It must not call Close.
	OnChange func(valid bool)
}

// Levels are those of a feature that a broker supports.
type Levels struct {
	Min int16 `json:"min"`
	Max int16 `json:"max"`
}

func (c Config) withDefaults() Config {
	if c.ID == "" {
		c.ID = id.NewSession()
	}
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.Renew == 0 {
		c.Renew = c.TTL / 3
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnChange == nil {
		c.OnChange = func(bool) {}
	}
	return c
}

// Validate says what is wrong with a Config in which the defaults are set.
func (c Config) Validate() error {
	switch {
	case c.Store == nil:
		return errors.New("session: no store")
	case c.Node < 0:
		return fmt.Errorf("session: node id %d is negative", c.Node)
	case c.TTL < 0 || c.Renew <= 0 || c.Renew > c.TTL/2:
		return fmt.Errorf("session: renewal each %v with a TTL of %v: want more than 0 and at most half of the TTL", c.Renew, c.TTL)
	default:
		return nil
	}
}

// lifetime is how long a holder relies on a write, from before it was sent: the TTL less a
// margin for clocks that do not run equally fast.
func (c Config) lifetime() time.Duration { return c.TTL - c.TTL/10 }

// Session is a lease that is held, until it is lost or closed. It is safe for concurrent use.
type Session struct {
	cfg      Config
	base     time.Time    // what deadline counts from
	deadline atomic.Int64 // nanoseconds since base; 0 when the session has ended
	lost     chan struct{}
	ctx      context.Context // ends with the session; its cause is Err
	end      context.CancelCauseFunc
	running  sync.WaitGroup
	closing  sync.Once
	closeErr error

	mu      sync.Mutex
	renewed chan struct{} // closed by the next renewal

	held held // owned by the loop, and by Close after it
}

// start runs a session whose item was written as version by a write sent at sentAt.
func start(cfg Config, version kv.Version, sentAt time.Time) *Session {
	s := &Session{
		cfg:     cfg,
		base:    sentAt,
		lost:    make(chan struct{}),
		renewed: make(chan struct{}),
		held:    held{version: version, sentAt: sentAt},
	}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	s.deadline.Store(int64(cfg.lifetime()))
	s.running.Go(s.run)
	s.running.Go(s.announce)
	return s
}

// ID returns the session's id.
func (s *Session) ID() id.Session { return s.cfg.ID }

// Node returns the node id that the session holds.
func (s *Session) Node() id.Broker { return s.cfg.Node }

// Valid reports whether nobody can have found the session dead yet. It turns false when renewals
// fail for too long and true again when one succeeds. It takes no lock.
func (s *Session) Valid() bool { return int64(time.Since(s.base)) < s.deadline.Load() }

// Deadline returns the time at which Valid turns false unless a renewal comes first, on the
// monotonic clock. It lies in the past when the session has ended.
func (s *Session) Deadline() time.Time { return s.base.Add(time.Duration(s.deadline.Load())) }

// LastRenewal returns the time before the newest write that is known to have renewed the
// session was sent, on the monotonic clock; of a session that has ended, that before its first.
func (s *Session) LastRenewal() time.Time {
	deadline := time.Duration(s.deadline.Load())
	if deadline == 0 {
		return s.base
	}
	return s.base.Add(deadline - s.cfg.lifetime())
}

// Lost returns a channel that is closed when the session is lost for good. A
// session that is closed before is not lost.
func (s *Session) Lost() <-chan struct{} { return s.lost }

// Err returns nil while the session is held, valid or not, and then an error that wraps ErrLost or ErrClosed.
func (s *Session) Err() error {
	if err := context.Cause(s.ctx); err != nil {
		return fmt.Errorf("session %s of node %d: %w", s.cfg.ID, s.cfg.Node, err)
	}
	return nil
}

// AwaitValid waits until the session is valid. It fails with Err when the session has ended, or when ctx ends.
func (s *Session) AwaitValid(ctx context.Context) error {
	for {
		renewed := s.nextRenewal()
		if s.Valid() {
			return nil
		}
		select {
		case <-renewed:
		case <-s.ctx.Done():
			return s.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for session %s of node %d to be renewed: %w", s.cfg.ID, s.cfg.Node, ctx.Err())
		}
	}
}

func (s *Session) nextRenewal() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renewed
}

// Close stops the renewals and deletes the item if it is still the session's. When that
// fails before ctx ends, the item expires by itself. Calls after the first one return what it did.
func (s *Session) Close(ctx context.Context) error {
	s.closing.Do(func() {
		s.end(ErrClosed)
		s.running.Wait()
		s.deadline.Store(0)
		if err := s.remove(ctx); err != nil {
			s.closeErr = fmt.Errorf("close session %s of node %d: its item expires after %v: %w", s.cfg.ID, s.cfg.Node, s.cfg.TTL, err)
		}
	})
	return s.closeErr
}

// announce tells of each change of Valid until the session ends.
func (s *Session) announce() {
	expiry := time.NewTimer(time.Until(s.Deadline()))
	defer expiry.Stop()
	for valid := true; ; {
		renewed := s.nextRenewal()
		if now := s.Valid(); now != valid {
			valid = now
			s.cfg.OnChange(valid)
		}
		if valid {
			expiry.Reset(time.Until(s.Deadline()))
		}
		select {
		case <-renewed:
		case <-expiry.C:
		case <-s.ctx.Done():
			if valid && errors.Is(s.Err(), ErrLost) {
				s.cfg.OnChange(false)
			}
			return
		}
	}
}
