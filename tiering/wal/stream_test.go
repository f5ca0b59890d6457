package wal_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/slotlog"
	"github.com/forebaylog/forebay/tiering/wal"
)

// holds holds uploads back until they are let go.
type holds struct {
	mu   sync.Mutex
	keys []string
	let  map[string]chan error
}

func (h *holds) put(op objstore.Op) error {
	if op.Kind != objstore.OpPut || !strings.HasSuffix(op.Key, ".pack") {
		return nil
	}
	c := make(chan error, 1)
	h.mu.Lock()
	if h.let == nil {
		h.let = map[string]chan error{}
	}
	if h.let[op.Key] == nil {
		h.keys = append(h.keys, op.Key)
	}
	h.let[op.Key] = c
	h.mu.Unlock()
	return <-c
}

// release lets the i-th upload go.
func (h *holds) release(i int, err error) {
	h.mu.Lock()
	c := h.let[h.keys[i]]
	h.mu.Unlock()
	c <- err
	synctest.Wait()
}

// TestAnswersInOrder: uploads end in any order; the answers come in that of the appends, and
// what is stored by the time that a slot is taken shares it.
func TestAnswersInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		h := &holds{}
		r.faults(nil, h.put)
		var all []*appended
		for i := range 4 {
			all = append(all, r.chunk(i%2))
		}
		require.Len(t, h.keys, 4, "uploads are pipelined")
		for _, i := range []int{2, 1, 3} {
			h.release(i, nil)
			for _, a := range all {
				require.False(t, a.answered(), "the first is not stored yet")
			}
		}
		require.Empty(t, r.payloads())
		h.release(0, nil)
		for _, a := range all {
			require.NoError(t, a.await())
		}
		slots := r.payloads()
		require.Len(t, slots, 1)
		require.Len(t, slots[1].Objects, 4)
		require.Equal(t, uint64(1), r.stream.Through())
		r.complete(r.fence(), nil)
	})
}

// TestInFlightIsBounded: no more uploads than InFlight, and the rest of what waits is one chunk.
func TestInFlightIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		h := &holds{}
		r.faults(nil, h.put)
		var all []*appended
		for range 10 {
			all = append(all, r.chunk(0))
		}
		require.Len(t, h.keys, 2)
		require.Equal(t, 2, r.stream.Stats().InFlight)
		h.release(0, nil)
		require.Len(t, h.keys, 3)
		h.release(1, nil)
		h.release(2, nil)
		for _, a := range all {
			require.NoError(t, a.await())
		}
		require.EqualValues(t, 3, r.stream.Stats().Objects)
	}, func(c *wal.StreamConfig, _ *wal.Config) { c.InFlight = 2 })
}

// TestSlotOfUnknownOutcome: whatever becomes of the first attempts at a slot, its objects
// are committed once and the stream goes on.
func TestSlotOfUnknownOutcome(t *testing.T) {
	for name, fault := range map[string]kv.Fault{"failed": kv.FaultFail, "lost": kv.FaultLost, "landed": kv.FaultLanded, "late": kv.FaultLate} {
		for _, looks := range []int{0, 3, 100} {
			t.Run(fmt.Sprintf("%s, %d looks fail", name, looks), func(t *testing.T) {
				inBubble(t, func(t *testing.T, r *streamRig) {
					var writes, reads atomic.Int64
					r.faults(func(op kv.Op) kv.Fault {
						switch {
						case op.Kind == kv.OpWrite && writes.Add(1) <= 2:
							return fault
						case op.Kind == kv.OpLand && writes.Load() < 4:
							return kv.FaultLate
						case (op.Kind == kv.OpGet || op.Kind == kv.OpQuery) && reads.Add(1) <= int64(looks):
							return kv.FaultFail
						}
						return kv.FaultNone
					}, nil)
					var all []*appended
					for i := range 5 {
						a := r.chunk(i % 2)
						require.NoError(t, a.await())
						all = append(all, a)
					}
					through := r.fence()
					seen := map[string]int{}
					for _, slot := range r.payloads() {
						for _, o := range slot.Objects {
							seen[o.Name]++
							require.Equal(t, 1, seen[o.Name], "committed twice")
						}
					}
					require.Len(t, seen, len(all))
					r.complete(through, nil)
				})
			})
		}
	}
}

// TestPutOfUnknownOutcome: the store has the object and fails the Put; the next attempt finds it.
func TestPutOfUnknownOutcome(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		lost := 0
		r.faults(nil, func(op objstore.Op) error {
			if op.Kind == objstore.OpStored && lost < 2 {
				lost++
				return errStore
			}
			return nil
		})
		for range 4 {
			require.NoError(t, r.chunk(0).await())
		}
		require.EqualValues(t, 2, r.stream.Stats().PutRetries)
		require.EqualValues(t, 4, r.stream.Stats().Objects)
		r.complete(r.fence(), nil)
	})
}

// TestStoreAway: memory stays within its bounds while the store is away, appenders wait, and
// all goes on when it is back.
func TestStoreAway(t *testing.T) {
	size := int64(len(newBatch(0)))
	const maxWaiting = 20
	inBubble(t, func(t *testing.T, r *streamRig) {
		r.faults(nil, func(objstore.Op) error { return errStore })
		ctx := context.Background()
		var all []*appended
		room := func(wait time.Duration) error {
			ctx, cancel := context.WithTimeout(ctx, wait)
			defer cancel()
			return r.group.Room(ctx)
		}
		for room(time.Second) == nil {
			require.Less(t, len(all), 1000)
			all = append(all, r.chunk(len(all)%3))
		}
		require.Len(t, all, maxWaiting)
		require.Equal(t, maxWaiting*size, r.group.Waiting())
		require.Equal(t, 2, r.stream.Stats().InFlight)
		require.ErrorIs(t, room(time.Hour), context.DeadlineExceeded, "an hour later it is the same")
		require.Equal(t, maxWaiting*size, r.group.Waiting())

		waited := make(chan error, 1)
		go func() { waited <- r.group.Room(ctx) }()
		synctest.Wait()
		require.Empty(t, waited)
		r.faults(nil, nil)
		require.NoError(t, <-waited)
		for _, a := range all {
			require.NoError(t, a.await())
		}
		require.Zero(t, r.group.Waiting())
		require.Positive(t, r.stream.Stats().PutRetries)
		r.complete(r.fence(), nil)
	}, func(c *wal.StreamConfig, g *wal.Config) {
		c.InFlight, c.MaxChunk, g.MaxWaiting = 2, 4*size, maxWaiting*size
	})
}

func TestTableAway(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		r.faults(func(kv.Op) kv.Fault { return kv.FaultFail }, nil)
		var all []*appended
		for i := range 10 {
			all = append(all, r.chunk(i%2))
		}
		time.Sleep(time.Hour)
		for _, a := range all {
			require.False(t, a.answered())
		}
		r.faults(nil, nil)
		for _, a := range all {
			require.NoError(t, a.await())
		}
		require.Positive(t, r.stream.Stats().SlotRetries)
		require.Len(t, r.payloads(), 2, "the first slot, and all that waited behind it")
		r.complete(r.fence(), nil)
	})
}

// TestFencedDuringACommit: another broker takes the slot that a commit is about to take.
func TestFencedDuringACommit(t *testing.T) {
	for _, fault := range []kv.Fault{kv.FaultNone, kv.FaultLost, kv.FaultLate} {
		inBubble(t, func(t *testing.T, r *streamRig) {
			require.NoError(t, r.chunk(0).await())
			h := &holds{}
			var through uint64
			var once sync.Once
			r.faults(func(op kv.Op) kv.Fault {
				if op.Kind == kv.OpWrite {
					once.Do(func() { through = r.fence() })
					return fault
				}
				return kv.FaultNone
			}, h.put)
			first, second, third := r.chunk(0), r.chunk(1), r.chunk(0)
			h.release(0, nil)
			for _, a := range []*appended{first, second, third} {
				require.ErrorIs(t, a.await(), wal.ErrFenced)
			}
			require.Equal(t, uint64(1), through)
			_, err := r.append(1)
			require.ErrorIs(t, err, wal.ErrFenced)
			h.release(1, nil) // lands after the fence
			require.Len(t, r.read(through), 1)
			require.Len(t, r.payloads(), 2)
			require.NotNil(t, r.payloads()[2].Fence)
			require.Equal(t, through, r.fence(), "again")
			r.complete(through, nil)
			h.release(2, errStore)
		})
	}
}

// TestLease: nothing is answered while the lease is not valid, and all fails when it is lost.
func TestLease(t *testing.T) {
	lost := errors.New("lease lost")
	valid := make(chan error)
	inBubble(t, func(t *testing.T, r *streamRig) {
		a := r.chunk(0)
		valid <- nil
		require.NoError(t, a.await())
		b, c := r.chunk(0), r.chunk(1)
		time.Sleep(time.Hour)
		require.Len(t, r.payloads(), 2, "the slot is taken")
		require.False(t, b.answered())
		valid <- nil
		require.NoError(t, b.await())
		valid <- lost
		require.ErrorIs(t, c.await(), lost)
		_, err := r.append(0)
		require.ErrorIs(t, err, lost)
	}, func(c *wal.StreamConfig, _ *wal.Config) {
		valid = make(chan error)
		c.Await = func(ctx context.Context) error {
			select {
			case err := <-valid:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// TestCloseWithWorkUnderWay: whatever the stream is doing, its end answers all, once and in order.
func TestCloseWithWorkUnderWay(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for name, fail := range map[string]func(r *streamRig){
		"store away": func(r *streamRig) { r.faults(nil, func(objstore.Op) error { return errStore }) },
		"table away": func(r *streamRig) { r.faults(func(kv.Op) kv.Fault { return kv.FaultFail }, nil) },
	} {
		for _, groupFirst := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, group first %t", name, groupFirst), func(t *testing.T) {
				inBubble(t, func(t *testing.T, r *streamRig) {
					require.NoError(t, r.chunk(0).await())
					fail(r)
					var all []*appended
					for range 10 {
						all = append(all, r.chunk(0))
					}
					if groupFirst {
						require.ErrorIs(t, r.group.Close(ended), context.Canceled)
					}
					require.NoError(t, r.stream.Close(context.Background()))
					for _, a := range all {
						require.ErrorIs(t, a.await(), wal.ErrClosed)
					}
					require.ErrorIs(t, r.group.Close(context.Background()), wal.ErrClosed)
					r.complete(r.fence(), nil)
				})
			})
		}
	}
}

// TestCommitAfterTheEnd: a chunk that comes too late is answered all the same.
func TestCommitAfterTheEnd(t *testing.T) {
	s := wal.OpenStream(wal.StreamConfig{Slots: slotlog.Open(kv.NewMem(), "s"), Objects: objstore.NewMem(), Session: testSession})
	require.NoError(t, s.Close(context.Background()))
	for range 10 { // more than can be under way
		var answers []error
		s.Commit(context.Background(), wal.Chunk{}, func(err error) { answers = append(answers, err) })
		require.Len(t, answers, 1)
		require.ErrorIs(t, answers[0], wal.ErrClosed)
	}
}
