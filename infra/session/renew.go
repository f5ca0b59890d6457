package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/pause"
)

// firstRetry is the wait after the first renewal that failed; doubled with each up to Config.Renew.
const firstRetry = 100 * time.Millisecond

// held is what the holder knows of its item.
type held struct {
	version  kv.Version // the last one known to be ours
	sentAt   time.Time  // when its write was sent
	renewals int64
	attempts []attempt // puts on top of version whose outcome is unknown: one of them may have been applied
}

// attempt is a renewal that was sent.
type attempt struct {
	version kv.Version
	sentAt  time.Time
}

// find returns the write of ours that made version; the zero attempt when there is none.
func (h *held) find(version kv.Version) (a attempt, ours bool) {
	if version == h.version {
		return attempt{h.version, h.sentAt}, true
	}
	for _, a := range h.attempts {
		if a.version == version {
			return a, true
		}
	}
	return attempt{}, false
}

// run renews until the session is lost or closed.
func (s *Session) run() {
	first := min(firstRetry, s.cfg.Renew)
	retry, wait := first, s.untilRenewal()
	for pause.For(s.ctx, wait) == nil {
		err := s.renew()
		switch {
		case err == nil:
			retry, wait = first, s.untilRenewal()
		case errors.Is(err, ErrLost):
			s.lose(err)
			return
		default:
			if retry == first && s.ctx.Err() == nil {
				s.cfg.Logger.Warn("session renewal failed, trying again", "node", s.cfg.Node, "valid_for", time.Until(s.Deadline()), "error", err)
			}
			retry, wait = min(2*retry, s.cfg.Renew), retry
		}
	}
}

func (s *Session) untilRenewal() time.Duration {
	return time.Until(s.held.sentAt.Add(s.cfg.Renew))
}

// renew writes the item once. Earlier attempts of unknown outcome come first: a rejected
// condition may be our own success.
func (s *Session) renew() error {
	if len(s.held.attempts) > 0 {
		if err := s.lookBack(); err != nil {
			return err
		}
	}
	value, err := newLease(s.cfg, s.held.renewals+1).encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Renew)
	defer cancel()
	sentAt := time.Now()
	version, err := kv.PutIf(ctx, s.cfg.Store, itemKey(s.cfg.Node), value, s.held.version)
	switch {
	case err == nil:
		s.extend(attempt{version, sentAt})
		return nil
	case errors.Is(err, kv.ErrConflict):
		return s.lookBack()
	case errors.Is(err, kv.ErrUnknown):
		s.held.attempts = append(s.held.attempts, attempt{version, sentAt})
	}
	return fmt.Errorf("renew session %s: %w", s.cfg.ID, err)
}

// lookBack reads the item: it is as it was, or one of the attempts has made it, or the session is lost.
func (s *Session) lookBack() error {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Renew)
	defer cancel()
	item, err := s.cfg.Store.Get(ctx, itemKey(s.cfg.Node))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return fmt.Errorf("%w: its item was removed: another broker found it not renewed for %v", ErrLost, s.cfg.TTL)
	case err != nil:
		return fmt.Errorf("look for session %s: %w", s.cfg.ID, err)
	}
	if a, ours := s.held.find(item.Version); ours {
		if a.version != s.held.version {
			s.extend(a)
		}
		return nil
	}
	holder, err := decodeLease(item)
	if err != nil {
		return fmt.Errorf("%w: another write has replaced its item: %w", ErrLost, err)
	}
	return fmt.Errorf("%w: node %d is now held by session %s (%s)", ErrLost, s.cfg.Node, holder.Session, holder.Info)
}

// extend takes note that the item is what a has written. No other attempt can be applied
// any more, as all had the version before as their condition.
func (s *Session) extend(a attempt) {
	s.held = held{version: a.version, sentAt: a.sentAt, renewals: s.held.renewals + 1}
	s.deadline.Store(int64(a.sentAt.Add(s.cfg.lifetime()).Sub(s.base)))
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.renewed)
	s.renewed = make(chan struct{})
}

func (s *Session) lose(err error) {
	s.deadline.Store(0)
	s.end(err)
	close(s.lost)
}

// remove deletes the item if one of our writes made it.
func (s *Session) remove(ctx context.Context) error {
	for {
		item, err := s.cfg.Store.Get(ctx, itemKey(s.cfg.Node))
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, ours := s.held.find(item.Version); !ours {
			return nil
		}
		err = kv.Settle(ctx, s.cfg.Store, kv.Write{Key: item.Key, Delete: true, If: item.Version})[0].Err
		if !errors.Is(err, kv.ErrConflict) { // one is that an attempt was applied in between
			return err
		}
	}
}
