package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/pack"
)

// A look reads all chains, and so knows how much lives in each pack, which no broker does of packs that have runs
// of partitions led by others. It writes down which packs are mostly dead. Whoever rewrites segments moves
// its own out of them then; and when all have, the pack goes.

// What a pack must be to be mostly dead.
const (
	// minLive is the share that lives, below it.
	minLive = 0.3
	// minDeadBytes is its size, at least: smaller ones are left to merging.
	minDeadBytes = 1 << 20
	// minDeadAge is its age, at least. Much of what lives in it may die soon, or be merged. It bounds how often something is moved.
	minDeadAge = 24 * time.Hour
	// runOverhead is roughly what a run takes of a pack beside its batches, in bytes. It is alive as well: another
	// pack would have it too.
	runOverhead = 512
)

// maxDead bounds what is written down of packs that are mostly dead, compressed, in bytes. A later look finds the others, when
// those have gone.
const maxDead = 4 << 20

// maxMaybe bounds how many packs of a look may be mostly dead. Each look takes them in order of name, and what is confirmed goes
// and makes room; packs that are mostly footer never do, so that where there are as many of these the ones behind them stay.
const maxMaybe = 100_000

// judgeDead takes note of a pack that is kept if it may be mostly dead.
func (r *run) judgeDead(s *state, o object) {
	live, _ := s.kept.get(o.key)
	old := r.began.UnixMilli()-o.modified >= minDeadAge.Milliseconds()
	if o.size < minDeadBytes || float64(live) >= minLive*float64(o.size) || !old {
		return
	}
	if len(r.maybe) < maxMaybe {
		r.maybe = append(r.maybe, mark{key: kindObject + o.key, since: live, size: o.size})
	}
}

// confirmDead writes down which of those that may be are mostly dead also without their footers: one of many producers would be as large
// in another pack, which would be moved again, and so on. Of those that cannot be read that is not known.
func (r *run) confirmDead(ctx context.Context) error {
	batches := make([]int64, len(r.maybe))
	var g errgroup.Group
	g.SetLimit(readers)
	for i, m := range r.maybe {
		g.Go(func() error {
			tail, err := pack.TailSize(ctx, objstore.Object{Store: r.cfg.Objects, Key: m.key[1:]}, m.size)
			if err == nil {
				batches[i] = m.size - tail
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, m := range r.maybe {
		if float64(m.since) >= minLive*float64(batches[i]) {
			continue
		}
		if err := r.dead.add(m); errors.Is(err, errFull) {
			break
		} else if err != nil {
			return err
		}
		r.report.Dead.add(m.size)
	}
	return nil
}

// Dead returns the packs that the last look found mostly dead: what still lives in them should be moved to
// others. There are none if nobody has looked, or if what was written down cannot be read.
func Dead(ctx context.Context, objects objstore.Store) (map[string]bool, error) {
	var own []objstore.Info
	for info, err := range objects.List(ctx, ObjectPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("find out which packs are mostly dead: %w", err)
		}
		if isOwn(info.Key) {
			own = append(own, info)
		}
	}
	newest, ok := newestOf(own, deadSuffix)
	if !ok {
		return nil, nil
	}
	b, err := readObject(ctx, objects, newest)
	if errors.Is(err, objstore.ErrNotFound) { // another look has replaced it
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find out which packs are mostly dead: %w", err)
	}
	dead := map[string]bool{}
	r, err := openMarks(b)
	for err == nil {
		var m mark
		if m, err = r.next(); err == nil {
			dead[m.key[1:]] = true
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("find out which packs are mostly dead: %s: %w", newest.Key, err)
	}
	return dead, nil
}
