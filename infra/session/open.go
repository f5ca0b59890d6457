package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/pause"
)

// Open takes the item of the node and starts to renew it. If another session has the
// item, Open watches it: it fails with ErrInUse once that one renews, and takes the item over once
// it was not renewed for a TTL; so Open may take a TTL and a little more, or as long as ctx lasts
// when the table fails in between. Whether a write of Open that failed with kv.ErrUnknown is
// applied is not known: then try again with another id.
func Open(ctx context.Context, cfg Config) (*Session, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	version, sentAt, err := take(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open session %s of node %d: %w", cfg.ID, cfg.Node, err)
	}
	return start(cfg, version, sentAt), nil
}

// take returns the version of the item that it wrote and the time before the write.
func take(ctx context.Context, cfg Config) (version kv.Version, sentAt time.Time, err error) {
	value, err := newLease(cfg, 0).encode()
	if err != nil {
		return "", time.Time{}, err
	}
	o := &other{cfg: cfg, watcher: NewWatcher(cfg.Store, cfg.TTL)}
	var replaces kv.Version // none: the item must be absent
	for {
		sentAt = time.Now()
		version, err = claim(ctx, cfg, kv.Write{Key: itemKey(cfg.Node), Value: value, If: replaces})
		if !errors.Is(err, kv.ErrConflict) {
			return version, sentAt, err
		}
		if replaces, err = o.awaitEnd(ctx); err != nil {
			return "", time.Time{}, err
		}
	}
}

// claim writes and finds out about unknown outcomes, but only for as long as nobody can have found
// the item dead: a put that was applied and killed must not be applied again.
func claim(ctx context.Context, cfg Config, w kv.Write) (kv.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.lifetime())
	defer cancel()
	r := kv.Settle(ctx, cfg.Store, w)[0]
	return r.Version, r.Err
}

// other is the session that was there before.
type other struct {
	cfg     Config
	watcher *Watcher
	version kv.Version // as it was seen first
}

// awaitEnd returns the version of an item that has expired, "" when the item is gone, and ErrInUse when
// the item is renewed.
func (o *other) awaitEnd(ctx context.Context) (kv.Version, error) {
	for {
		all, err := o.watcher.Poll(ctx)
		if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer) {
			return "", err
		}
		if err == nil {
			i := slices.IndexFunc(all, func(s Seen) bool { return s.Node == o.cfg.Node })
			if i < 0 {
				return "", nil
			}
			if ended, err := o.judge(all[i]); ended || err != nil {
				return all[i].Version, err
			}
		}
		if ended := pause.For(ctx, o.cfg.TTL/10); ended != nil {
			return "", errors.Join(ended, err)
		}
	}
}

func (o *other) judge(s Seen) (ended bool, err error) {
	if o.version == "" {
		o.version = s.Version
	}
	if s.Version != o.version {
		return false, fmt.Errorf("%w: session %s (%s) is alive as node %d: stop that broker or choose another node id",
			ErrInUse, s.Session, s.Info, s.Node)
	}
	return s.Expired, nil
}
