package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/pause"
	"github.com/forebaylog/forebay/infra/session"
)

// Alive watches the sessions for a time and returns those that have been renewed or that
// have come meanwhile. Where there are no sessions it returns at once.
func Alive(ctx context.Context, table kv.Store, watch time.Duration) ([]session.Seen, error) {
	w := session.NewWatcher(table, session.DefaultTTL)
	before, err := w.Poll(ctx)
	if err != nil || len(before) == 0 {
		return nil, err
	}
	if err := pause.For(ctx, watch); err != nil {
		return nil, fmt.Errorf("watch sessions: %w", err)
	}
	return Renewed(ctx, table, before)
}

// Renewed returns the sessions whose items are other than they were.
func Renewed(ctx context.Context, table kv.Store, before []session.Seen) ([]session.Seen, error) {
	versions := make(map[id.Broker]kv.Version, len(before))
	for _, s := range before {
		versions[s.Node] = s.Version
	}
	now, err := session.NewWatcher(table, session.DefaultTTL).Poll(ctx)
	if err != nil {
		return nil, err
	}
	var alive []session.Seen
	for _, s := range now {
		if versions[s.Node] != s.Version {
			alive = append(alive, s)
		}
	}
	return alive, nil
}
