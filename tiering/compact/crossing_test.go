package compact_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/pause"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/compact"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

var (
	crossings    = flag.Int("crossings", 40, "how many schedules of rewriters to run")
	crossingSeed = flag.Uint64("crossing-seed", 0, "run the one of this seed alone")
)

// TestCrossings has several merge and compact the same partition beside each other, each with delays of its
// own between what it reads and what it writes, up to the time that it has. After each write a reader finds the
// newest value of each key, and none of a key that was deleted.
func TestCrossings(t *testing.T) {
	if *crossingSeed != 0 {
		require.NoError(t, cross(t, *crossingSeed, false).wrong)
		return
	}
	n, gone := *crossings, 0
	if testing.Short() {
		n = min(n, 10)
	}
	for seed := range uint64(n) {
		x := cross(t, seed+1, false)
		require.NoError(t, x.wrong, "to run it alone: go test ./tiering/compact -run TestCrossings -crossing-seed %d", seed+1)
		gone += x.gone
	}
	require.Greater(t, gone, n, "schedules without tombstones that go prove nothing")
}

// TestCrossingsOfCareless: it is MinRetention that keeps deleted keys away.
func TestCrossingsOfCareless(t *testing.T) {
	const first = 184 // which is soon known to be enough
	for seed := range uint64(400) {
		if x := cross(t, first+seed, true); x.wrong != nil {
			t.Logf("schedule %d: %v", first+seed, x.wrong)
			return
		}
	}
	t.Error("nothing came back in 400 schedules")
}

// crossing is a schedule.
type crossing struct {
	*world
	seed     uint64
	ends     time.Time
	careless bool // the cleaners believe to be alone
	actors   sync.WaitGroup
	started  uint64

	check  sync.Mutex        // guards what follows, and the world
	newest map[string]record // of each key
	wrong  error
	stones map[string]bool // tombstones that were seen
	gone   int             // of them
}

func cross(t *testing.T, seed uint64, careless bool) (x *crossing) {
	synctest.Test(t, func(t *testing.T) {
		var closers []func()
		x = &crossing{
			world: worldOf(t, func(f func()) { closers = append(closers, f) }), seed: seed, careless: careless,
			ends: time.Now().Add(8 * time.Hour), newest: map[string]record{}, stones: map[string]bool{},
		}
		x.table = &watched{x.table, x}
		x.chain = chain.Open(x.table)
		x.begin((*crosser).producer, 0)
		x.begin((*crosser).retention, 0)
		for range 2 {
			x.begin((*crosser).cleaner, 10)
			x.begin((*crosser).merger, 2)
		}
		x.actors.Wait()
		for _, f := range closers {
			f()
		}
	})
	return x
}

// record is the newest of a key; its value is "" of a tombstone.
type record struct {
	at    id.Offset
	value string
}

// crosser is one of those that work on the partition.
type crosser struct {
	*crossing
	luck *rand.Rand
	slow int      // one in so many requests takes nearly all the time there is
	view kv.Store // the table as it sees it
	cold *cold.Reader
}

func (x *crossing) begin(f func(*crosser), slowness int) {
	x.started++
	a := &crosser{crossing: x, luck: rand.New(rand.NewPCG(x.seed, x.started)), slow: slowness}
	a.view = &slow{x.table, a}
	x.actors.Go(func() {
		a.cold = cold.New(x.objects, cold.Config{})
		defer func() { _ = a.cold.Close(context.Background()) }()
		for x.goesOn() && pause.For(ctx, time.Duration(a.luck.Int64N(int64(8*time.Minute)))) == nil {
			f(a)
		}
	})
}

func (x *crossing) goesOn() bool {
	x.check.Lock()
	defer x.check.Unlock()
	return x.wrong == nil && time.Now().Before(x.ends)
}

// producer seals a segment, and ends what transaction there is.
func (a *crosser) producer() {
	a.check.Lock()
	defer a.check.Unlock()
	x := a.crossing
	x.now = time.Now()
	for range 1 + a.luck.IntN(3) {
		key := string(rune('a' + a.luck.IntN(5)))
		value := ""
		if a.luck.IntN(2) == 0 {
			value = fmt.Sprint(x.end)
		}
		if a.luck.IntN(4) == 0 { // a transaction that is aborted
			x.batch(batch.None, -5, key+"=aborted")
			x.marker(5, false)
			continue
		}
		x.newest[key] = record{x.end, value}
		x.batch(batch.None, 0, key+"="+value)
	}
	x.seal()
}

// retention moves the log start now and then, up to what is sealed.
func (a *crosser) retention() {
	a.check.Lock()
	defer a.check.Unlock()
	if items := a.items(); len(items) > 2 && a.luck.IntN(4) == 0 {
		a.crossing.world.start = items[1+a.luck.IntN(len(items)-2)].Base
		a.look()
	}
}

// logStart is where the log starts.
func (x *crossing) logStart() id.Offset {
	x.check.Lock()
	defer x.check.Unlock()
	return x.world.start
}

func (a *crosser) engine(c *chain.Store) *rewrite.Engine {
	return rewrite.New(rewrite.Config{Chain: c, Objects: a.objects, Cold: a.cold, Cluster: "test"})
}

func (a *crosser) cleaner() {
	within, cancel := context.WithTimeout(ctx, time.Duration(a.luck.Int64N(int64(3*time.Hour)))) // it may be stopped amid
	defer cancel()
	c := chain.Open(a.view)
	_ = runOne(within, compact.Config{Chain: c, Cold: a.cold, Rewriter: a.engine(c), Alone: a.careless}, a.logStart(),
		compact.Settings{DeleteRetention: time.Minute, SegmentBytes: int64(1 + a.luck.IntN(1000))}) // another was faster, perhaps
}

func (a *crosser) merger() {
	c := chain.Open(a.view)
	start := a.logStart()
	items, err := c.Items(ctx, p0)
	if err == nil {
		items, _, err = chain.Canonical(items, start)
	}
	if err != nil || len(items) < 2 {
		return
	}
	from := a.luck.IntN(len(items) - 1)
	to := from + 2 + a.luck.IntN(min(3, len(items)-from-1))
	_, _ = a.engine(c).Rewrite(ctx, []rewrite.Job{{Partition: p0, Start: start, Old: items[from:min(to, len(items))]}})
}

// slow is a table that takes its time, now and then nearly all there is.
type slow struct {
	kv.Store
	a *crosser
}

func (s *slow) delay(ctx context.Context) error {
	d := s.a.luck.Int64N(int64(5 * time.Second))
	if s.a.luck.IntN(s.a.slow) == 0 {
		d = s.a.luck.Int64N(int64(chain.CommitWithin))
	}
	return pause.For(ctx, time.Duration(d))
}

func (s *slow) Query(ctx context.Context, part string, r kv.Range) ([]kv.Item, error) {
	if err := s.delay(ctx); err != nil {
		return nil, err
	}
	return s.Store.Query(ctx, part, r)
}

func (s *slow) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	if err := s.delay(ctx); err != nil {
		return []kv.Result{{Err: err}}
	}
	s.a.check.Lock()
	defer s.a.check.Unlock()
	return s.Store.Write(ctx, writes...)
}

// watched is a table behind whose writes a reader looks; the caller holds check.
type watched struct {
	kv.Store
	x *crossing
}

func (w *watched) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	results := w.Store.Write(ctx, writes...)
	if x := w.x; results[0].Err == nil && strings.HasPrefix(writes[0].Key.Part, "chain/") {
		x.look()
	}
	return results
}

// look reads all that is sealed.
func (x *crossing) look() {
	seen := map[string]string{}
	stones := map[string]bool{}
	for _, line := range x.committed() {
		at, key, value := split(line)
		if id.Offset(at) < x.world.start {
			continue
		}
		seen[key] = value
		if value == "" {
			stones[fmt.Sprint(at)] = true
		}
	}
	for stone := range x.stones {
		if !stones[stone] {
			x.gone++
		}
	}
	x.stones = stones
	items := x.items()
	if x.wrong != nil || items[len(items)-1].Next < x.end { // what is being sealed is not there yet
		return
	}
	for key, want := range x.newest {
		if want.at < x.world.start {
			want.value = ""
		}
		if got := seen[key]; got != want.value {
			x.wrong = fmt.Errorf("from %d on key %s has the value %q, but should have %q: %v", x.world.start, key, got, want.value, x.committed())
		}
	}
}
