package kv_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/kv/kvtest"
)

// TestDynamo runs the suite on the driver with a server that is a model of DynamoDB; the
// end-to-end tests run it on a server that others made.
func TestDynamo(t *testing.T) {
	f, tables := newFakeDynamo(t), 0
	kvtest.Run(t, func(t *testing.T) kv.Store {
		tables++
		s, err := kv.OpenDynamoDB(t.Context(), f.config(kv.DynamoConfig{Table: fmt.Sprintf("table-%d", tables)}))
		require.NoError(t, err)
		return s
	})
}

// busy are the refusals that say for certain that nothing was done.
var busy = []fakeFault{
	{status: 400, code: "ProvisionedThroughputExceededException"},
	{status: 400, code: "ThrottlingException"},
	{status: 400, code: "RequestLimitExceeded"},
	{status: 400, code: "LimitExceededException"},
}

func TestDynamoThrottledThenApplied(t *testing.T) {
	f := newFakeDynamo(t)
	s := f.open(t, kv.DynamoConfig{})
	k := itemKey(1)
	f.then("PutItem", busy...)
	ver, err := kv.PutIfAbsent(ctx, s, k, []byte("x"))
	require.NoError(t, err)
	require.Equal(t, len(busy)+1, f.count("PutItem"))

	f.then("GetItem", busy...)
	item, err := s.Get(ctx, k)
	require.NoError(t, err)
	require.Equal(t, ver, item.Version)

	f.then("DeleteItem", busy...)
	require.NoError(t, kv.Delete(ctx, s, k, ver))
	require.Equal(t, len(busy)+1, f.count("DeleteItem"))
}

func TestDynamoThrottledTooOften(t *testing.T) {
	f := newFakeDynamo(t)
	s := f.open(t, kv.DynamoConfig{MaxAttempts: 3})
	f.then("PutItem", busy...)
	_, err := kv.PutIfAbsent(ctx, s, itemKey(1), nil)
	require.ErrorIs(t, err, kv.ErrThrottled)
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.NotErrorIs(t, err, kv.ErrUnknown)
	require.Equal(t, 3, f.count("PutItem"))
}

// lost are the ways in which a reply can fail to say what was done.
var lost = map[string]fakeFault{
	"500":              {status: 500, code: "InternalServerError"},
	"503":              {status: 503, code: "ServiceUnavailable"},
	"throttled by 5xx": {status: 503, code: "ThrottlingException"},
	"proxy's 4xx":      {status: 403},
	"closed":           {close: true},
	"half a reply":     {half: true},
	"damaged reply":    {damaged: true},
	"no reply":         {hang: true},
}

// TestDynamoUnknown: a write is sent once, whatever comes of it, and its nonce finds it.
func TestDynamoUnknown(t *testing.T) {
	for name, fault := range lost {
		for _, applied := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, applied %t", name, applied), func(t *testing.T) {
				f := newFakeDynamo(t)
				s := f.open(t, kv.DynamoConfig{AttemptTimeout: 300 * time.Millisecond})
				k := itemKey(1)
				fault.apply = applied
				f.then("PutItem", fault)
				ver, err := kv.PutIfAbsent(ctx, s, k, []byte("x"))
				require.ErrorIs(t, err, kv.ErrUnknown)
				require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's time is not up")
				require.NotEmpty(t, ver)
				require.Equal(t, 1, f.count("PutItem"))
				found, err := kv.Resolve(ctx, s, k, ver)
				require.NoError(t, err)
				require.Equal(t, applied, found)

				f.then("PutItem", fault)
				r := kv.Settle(ctx, s, kv.Write{Key: itemKey(2), Value: []byte("y")})[0]
				require.NoError(t, r.Err)
			})
		}
	}
}

// TestDynamoReadsAgain: a read is repeated whatever came of it, up to a bound.
func TestDynamoReadsAgain(t *testing.T) {
	for name, fault := range lost {
		t.Run(name, func(t *testing.T) {
			f := newFakeDynamo(t)
			s := f.open(t, kv.DynamoConfig{AttemptTimeout: 300 * time.Millisecond, MaxAttempts: 2})
			fill(t, s, 1)
			f.then("GetItem", fault)
			_, err := s.Get(ctx, itemKey(0))
			require.NoError(t, err)
			f.then("Query", fault)
			items, err := s.Query(ctx, itemKey(0).Part, kv.Range{})
			require.NoError(t, err)
			require.Len(t, items, 1)

			f.then("GetItem", fault, fault)
			_, err = s.Get(ctx, itemKey(0))
			require.Error(t, err)
			require.ErrorIs(t, err, kv.ErrUnavailable)
			require.NotErrorIs(t, err, kv.ErrNotFound)
			require.NotErrorIs(t, err, kv.ErrUnknown, "which is for writes")
			require.Equal(t, 4, f.count("GetItem"))
		})
	}
}

func TestDynamoConflictIsNotRepeated(t *testing.T) {
	f := newFakeDynamo(t)
	s := f.open(t, kv.DynamoConfig{})
	f.then("PutItem", busy[0])
	fill(t, s, 1)
	before := f.count("PutItem")
	_, err := kv.PutIfAbsent(ctx, s, itemKey(0), nil)
	require.ErrorIs(t, err, kv.ErrConflict)
	require.Equal(t, before+1, f.count("PutItem"))
}

// TestDynamoEnds: a caller who gives up is told what is known.
func TestDynamoEnds(t *testing.T) {
	f := newFakeDynamo(t)
	s := f.open(t, kv.DynamoConfig{})
	f.then("PutItem", fakeFault{hang: true})
	limited, cancel := context.WithTimeout(ctx, time.Second) // within which a busy machine sends it
	defer cancel()
	_, err := kv.PutIfAbsent(limited, s, itemKey(1), nil)
	require.ErrorIs(t, err, kv.ErrUnknown, "it was sent")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = kv.PutIfAbsent(limited, s, itemKey(1), nil)
	require.NotErrorIs(t, err, kv.ErrUnknown, "it was not")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestDynamoEndsWhileThrottled: what was refused each time was not applied.
func TestDynamoEndsWhileThrottled(t *testing.T) {
	f := newFakeDynamo(t)
	ended, cancel := context.WithCancel(ctx)
	defer cancel()
	var throttled kv.DynamoConfig
	throttled.Observe = func(r kv.Request) {
		if errors.Is(r.Err, kv.ErrThrottled) {
			cancel()
		}
	}
	s := f.open(t, throttled)
	f.then("PutItem", busy...)
	_, err := kv.PutIfAbsent(ended, s, itemKey(1), nil)
	require.ErrorIs(t, err, kv.ErrThrottled)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, kv.ErrUnknown)
	require.Equal(t, 1, f.count("PutItem"))
}

// TestDynamoGone: what could not be sent is known not to be applied.
func TestDynamoGone(t *testing.T) {
	f := newFakeDynamo(t)
	s := f.open(t, kv.DynamoConfig{MaxAttempts: 2})
	f.CloseClientConnections()
	f.Close()
	_, err := kv.PutIfAbsent(ctx, s, itemKey(1), nil)
	for errors.Is(err, kv.ErrUnknown) { // by a connection whose end was not noticed before
		_, err = kv.PutIfAbsent(ctx, s, itemKey(1), nil)
	}
	require.ErrorIs(t, err, kv.ErrUnreachable)
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.ErrorContains(t, err, f.URL)
}

func TestDynamoObserve(t *testing.T) {
	f := newFakeDynamo(t)
	var mu sync.Mutex
	var got []string
	s := f.open(t, kv.DynamoConfig{Observe: func(r kv.Request) {
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, "table", r.Table)
		require.Positive(t, r.Duration)
		got = append(got, fmt.Sprintf("%s %.1f %.1f %t", r.Operation, r.ReadUnits, r.WriteUnits, r.Err == nil))
	}})
	got = nil
	k := itemKey(1)
	f.then("PutItem", busy[0])
	ver, err := kv.PutIfAbsent(ctx, s, k, []byte("x"))
	require.NoError(t, err)
	_, err = kv.PutIfAbsent(ctx, s, k, nil)
	require.ErrorIs(t, err, kv.ErrConflict)
	_, err = s.Get(ctx, k)
	require.NoError(t, err)
	_, err = s.Query(ctx, k.Part, kv.Range{})
	require.NoError(t, err)
	require.NoError(t, kv.Delete(ctx, s, k, ver))
	require.Equal(t, []string{
		"PutItem 0.0 0.0 false", "PutItem 0.0 2.0 true", "PutItem 0.0 1.0 false",
		"GetItem 0.5 0.0 true", "Query 1.5 0.0 true", "DeleteItem 0.0 2.0 true",
	}, got)
}

// TestDynamoPages: a range is read page by page, and no page more than needed.
func TestDynamoPages(t *testing.T) {
	f := newFakeDynamo(t)
	s := f.open(t, kv.DynamoConfig{})
	for i := range 20 {
		_, err := kv.PutIfAbsent(ctx, s, kv.Key{Part: "p", Sort: fmt.Sprintf("%02d", i)}, nil)
		require.NoError(t, err)
	}
	for _, c := range []struct {
		r            kv.Range
		items, pages int
	}{
		{kv.Range{}, 20, 3},
		{kv.Range{Limit: 7}, 7, 1},
		{kv.Range{Limit: 8}, 8, 2},
		{kv.Range{To: "19"}, 19, 3},
		{kv.Range{From: "05", To: "10"}, 5, 1},
		{kv.Range{From: "05", To: "10", Limit: 5, Reverse: true}, 5, 1},
		{kv.Range{From: "05", To: "10", Limit: 1, Reverse: true}, 1, 1},
		{kv.Range{From: "05", To: "05"}, 0, 0},
	} {
		before := f.count("Query")
		items, err := s.Query(ctx, "p", c.r)
		require.NoError(t, err)
		require.Len(t, items, c.items, "%+v", c.r)
		require.Equal(t, c.pages, f.count("Query")-before, "%+v", c.r)
	}
	_, err := s.Query(ctx, "p", kv.Range{From: "\xff"})
	require.ErrorIs(t, err, kv.ErrInvalidKey)
}

// TestDynamoForeignItem: an item that no driver of this package wrote.
func TestDynamoForeignItem(t *testing.T) {
	f := newFakeDynamo(t)
	s := f.open(t, kv.DynamoConfig{})
	part, sort := "p", "s"
	f.mu.Lock()
	f.tables["table"].items["p"] = map[string]fakeItem{"s": {"part": {S: &part}, "sort": {S: &sort}}}
	f.mu.Unlock()
	_, err := s.Get(ctx, kv.Key{Part: "p", Sort: "s"})
	require.ErrorIs(t, err, kv.ErrCorrupt)
	_, err = s.Query(ctx, "p", kv.Range{})
	require.ErrorIs(t, err, kv.ErrCorrupt)
}

// TestDynamoInParallel: the writes of a call are under way at the same time.
func TestDynamoInParallel(t *testing.T) {
	f := newFakeDynamo(t)
	const n = 32
	arrived := make(chan struct{}, n)
	all := make(chan struct{})
	inner := f.Config.Handler
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Target") == "DynamoDB_20120810.PutItem" {
			if arrived <- struct{}{}; len(arrived) == n {
				close(all)
			}
			<-all
		}
		inner.ServeHTTP(w, r)
	})
	fill(t, f.open(t, kv.DynamoConfig{Concurrency: n}), n)
}
