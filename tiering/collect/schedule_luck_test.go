package collect_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
)

// actor is one of those who use the stores, with its own luck.
type actor struct {
	w       *stage
	table   kv.Store
	objects objstore.Store
	chains  *chain.Store

	n   uint64
	mu  sync.Mutex
	rng *rand.Rand // for the actor's own goroutine
}

// start runs an actor.
func (w *stage) start(f func(a *actor)) {
	w.mu.Lock()
	w.started++
	a := &actor{w: w, n: w.started, rng: rand.New(rand.NewPCG(w.seed, w.started))}
	w.mu.Unlock()
	a.table = kv.Inject(&lateTable{w.table, a}, a.tableFault)
	a.objects = objstore.Inject(w.objects, a.objectFault)
	a.chains = chain.Open(a.table)
	w.actors.Go(func() { f(a) })
}

// draw returns a number below n.
func (a *actor) draw(n int64) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rng.Int64N(n)
}

// goesOn reports whether the actor's time is not over, after a pause of up to d.
func (a *actor) goesOn(d time.Duration) bool {
	time.Sleep(time.Duration(1 + a.draw(int64(d))))
	return time.Now().Before(a.w.ends) && a.w.violation() == nil
}

// delay is the time that something takes, most often short, now and then longer than whoever
// waits for it may take.
func delay(draw func(n int64) int64) {
	longest := [...]time.Duration{time.Second, time.Second, 10 * time.Second, time.Minute, 5 * time.Minute}[draw(5)]
	if draw(100) == 0 {
		longest = 100 * time.Minute
	}
	time.Sleep(time.Duration(1 + draw(int64(longest))))
}

// luck is that of one operation, whichever of the actor's goroutines does it, and when beside the others.
func (a *actor) luck(kind, key string) func(n int64) int64 {
	if strings.HasPrefix(key, "collector/") {
		key = "collector/" // the rest is drawn elsewhere
	}
	h := fnv.New64a()
	fmt.Fprint(h, a.n, kind, key, time.Now().UnixNano())
	return rand.New(rand.NewPCG(a.w.seed, h.Sum64())).Int64N
}

var errBadLuck = errors.New("bad luck")

func (a *actor) tableFault(op kv.Op) kv.Fault {
	draw := a.luck(fmt.Sprint(op.Kind), op.Key.String())
	if draw(4) == 0 {
		delay(draw)
	}
	return map[int64]kv.Fault{1: kv.FaultFail, 2: kv.FaultLost, 3: kv.FaultLanded}[draw(300)]
}

func (a *actor) objectFault(op objstore.Op) error {
	draw := a.luck(op.Kind.String(), op.Key)
	if op.Kind == objstore.OpPut || draw(4) == 0 {
		delay(draw)
	}
	if draw(150) == 0 { // OpStored: the reply is lost
		return errBadLuck
	}
	return nil
}

// lateTable has some writes to chains arrive late, when whoever sent them knows nothing of
// it any more, but not later than the collector's margin allows for.
type lateTable struct {
	kv.Store
	a *actor
}

func (l *lateTable) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	if len(writes) == 0 || !strings.HasPrefix(writes[0].Key.Part, "chain") || ctx.Err() != nil {
		return l.Store.Write(ctx, writes...)
	}
	draw := l.a.luck("late", writes[0].Key.String())
	if draw(30) != 0 {
		return l.Store.Write(ctx, writes...)
	}
	wait := time.Duration(1 + draw(int64(5*time.Minute)))
	l.a.w.actors.Go(func() {
		time.Sleep(wait)
		l.Store.Write(context.WithoutCancel(ctx), writes...)
	})
	results := make([]kv.Result, len(writes))
	for i, write := range writes {
		results[i].Err = fmt.Errorf("write %v: %w", write.Key, kv.ErrUnknown)
	}
	return results
}

// upload stores runs in a new object, slowly.
func (a *actor) upload(ctx context.Context, prefix string, runs ...run) (name string, size int64, err error) {
	var text strings.Builder
	for _, r := range runs {
		text.WriteString(r.String())
	}
	name = fmt.Sprintf("%s%013d-%016d.pack", prefix, time.Now().UnixMilli()%1e12, a.w.number())
	err = a.objects.Put(ctx, name, io.MultiReader(slow{a}, strings.NewReader(text.String())))
	return name, int64(text.Len()), err
}

// slow is an empty body that takes its time.
type slow struct{ a *actor }

func (s slow) Read([]byte) (int, error) {
	delay(s.a.draw)
	return 0, io.EOF
}
