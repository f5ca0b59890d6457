package broker

import (
	"context"
	stdsync "sync"
	"time"

	"github.com/forebaylog/forebay/infra/metalog"
)

// imageWaits are requests that wait until the metadata says what they wait for. It is a part
// of the broker: each wait is a goroutine, which ends with the wait, its connection or
// the broker.
type imageWaits struct {
	meta     *metalog.Log
	waiting  stdsync.WaitGroup
	draining <-chan struct{}
}

func openImageWaits(_ context.Context, b *Broker) (part, error) {
	b.waits = &imageWaits{meta: b.meta, draining: b.draining}
	return b.waits, nil
}

// await calls then once, with an Image for which met is true, or with the last one after the
// timeout, the end of ctx or the beginning of the broker's. It returns at once.
func (w *imageWaits) await(ctx context.Context, timeout time.Duration, met func(*metalog.Image) bool, then func(*metalog.Image)) {
	w.waiting.Go(func() {
		changed := make(chan struct{}, 1)
		cancel := w.meta.Subscribe(func(_, _ *metalog.Image) { signal(changed) })
		defer cancel()
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		for !met(w.meta.Image()) {
			select {
			case <-changed:
				continue
			case <-timer.C:
			case <-ctx.Done():
			case <-w.draining:
			}
			break
		}
		then(w.meta.Image())
	})
}

// drain does nothing: the waits see for themselves that the broker closes.
func (w *imageWaits) drain() {}

func (w *imageWaits) close(context.Context) error {
	w.waiting.Wait()
	return nil
}
