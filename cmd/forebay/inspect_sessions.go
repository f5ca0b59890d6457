package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
)

func newInspectSessions() *cobra.Command {
	var out output
	var from source
	var watch time.Duration
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "Show the sessions of the brokers of a cluster",
		Long: `Show the sessions of the brokers of a cluster: those that the table has, and those that
the metadata has a stream of. A broker renews its session each second. With --watch it is
looked at for so long, and said whether it was renewed: one that is not for the session
TTL is dead.`,
		Example: "  forebay inspect sessions --metadata dynamodb://my-log?region=eu-central-1 --object-store s3://my-log/prod?region=eu-central-1 --watch 4s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return from.with(cmd, func(ctx context.Context, d *dataDir) error { return inspectSessions(ctx, cmd, out, d, watch) })
		},
	}
	from.register(cmd)
	cmd.Flags().DurationVar(&watch, "watch", 0, "look for so long whether sessions are renewed")
	out.register(cmd.Flags())
	return cmd
}

// shownSession is a session in the output of inspect sessions.
type shownSession struct {
	Session string `json:"session"`
	Node    int32  `json:"node"`
	Address string `json:"address,omitempty"`
	InTable bool   `json:"in_table"`          // it has the item of its node
	Renewed *bool  `json:"renewed,omitempty"` // while it was watched
	Broker  string `json:"broker"`            // what the metadata says: live, fenced, former or unknown
	Stream  bool   `json:"stream"`            // the metadata knows its stream, which may hold records
}

func inspectSessions(ctx context.Context, cmd *cobra.Command, out output, d *dataDir, watch time.Duration) error {
	image, err := metalog.Load(ctx, d.control, d.objects)
	if err != nil {
		return metalogError(err)
	}
	seen, renewed, err := watchSessions(ctx, d.control, watch)
	if err != nil {
		return sessionError(err)
	}
	shown := []shownSession{}
	for i, s := range seen {
		_, stream := image.Stream(s.Session)
		shown = append(shown, shownSession{s.Session.String(), int32(s.Node), s.Info, true, renewed[i], standing(image, s.Node, s.Session), stream})
	}
	for _, s := range image.Streams() {
		if !hasSession(seen, s.Session) {
			shown = append(shown, shownSession{Session: s.Session.String(), Node: int32(s.Node), Broker: standing(image, s.Node, s.Session), Stream: true})
		}
	}
	t := newTable("NODE", "SESSION", "IN TABLE", "RENEWED", "BROKER", "STREAM", "ADDRESS")
	for _, s := range shown {
		again := "-"
		if s.Renewed != nil {
			again = yesNo(*s.Renewed)
		}
		t.add(s.Node, s.Session, yesNo(s.InTable), again, s.Broker, yesNo(s.Stream), s.Address)
	}
	return out.print(cmd, shown, t)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func hasSession(seen []session.Seen, s id.Session) bool {
	for _, other := range seen {
		if other.Session == s {
			return true
		}
	}
	return false
}

// standing says what the metadata makes of a session.
func standing(image *metalog.Image, node id.Broker, s id.Session) string {
	b, ok := image.Broker(node)
	switch {
	case !ok:
		return "unknown"
	case b.Incarnation != s:
		return "former"
	case b.Fenced:
		return "fenced"
	}
	return "live"
}

// watchSessions returns the sessions as they are at the end of a time, and of each whether
// its item has changed meanwhile: nil if it was not watched.
func watchSessions(ctx context.Context, table kv.Store, d time.Duration) (seen []session.Seen, renewed []*bool, err error) {
	w := session.NewWatcher(table, session.DefaultTTL)
	before, err := w.Poll(ctx)
	if err != nil {
		return nil, nil, err
	}
	if d <= 0 {
		return before, make([]*bool, len(before)), nil
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("watch sessions: %w", context.Cause(ctx))
	}
	if seen, err = w.Poll(ctx); err != nil {
		return nil, nil, err
	}
	versions := make(map[id.Broker]kv.Version, len(before))
	for _, s := range before {
		versions[s.Node] = s.Version
	}
	for _, s := range seen {
		changed := versions[s.Node] != s.Version
		renewed = append(renewed, &changed)
	}
	return seen, renewed, nil
}

// sessionError tells damage from a failure to read.
func sessionError(err error) error {
	if errors.Is(err, session.ErrCorrupt) || errors.Is(err, kv.ErrCorrupt) {
		return damaged(err)
	}
	return err
}
