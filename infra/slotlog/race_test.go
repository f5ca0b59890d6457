package slotlog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/slotlog"
)

// attempt is what an appender was told about one append.
type attempt struct {
	seq     uint64
	payload string
	err     error
}

// appender appends until it has had enough payloads in the log, always to the
// slot behind the last one it has read.
type appender struct {
	log      *slotlog.Log
	name     string
	attempts []attempt
}

func (a *appender) run(ctx context.Context, payloads int) error {
	next := uint64(1)
	for n := 0; n < payloads; {
		var err error
		if next, err = a.catchUp(ctx, next); err != nil {
			return err
		}
		try := attempt{seq: next, payload: fmt.Sprintf("%s-%d", a.name, len(a.attempts))}
		try.err = a.log.Append(ctx, try.seq, []byte(try.payload))
		a.attempts = append(a.attempts, try)
		switch {
		case try.err == nil, errors.Is(try.err, slotlog.ErrTruncated): // whether it is in the log is not known then
			n++
		case !errors.Is(try.err, slotlog.ErrTaken) && !errors.Is(try.err, kv.ErrInjected):
			return try.err
		}
	}
	return nil
}

// catchUp returns the first free slot; a log truncated ahead is read from its new beginning.
func (a *appender) catchUp(ctx context.Context, next uint64) (uint64, error) {
	for ctx.Err() == nil {
		slots, err := a.log.Read(ctx, next, 3)
		switch {
		case errors.Is(err, slotlog.ErrTruncated):
			if first, err := a.log.First(ctx); err == nil {
				next = first
			}
			continue
		case errors.Is(err, kv.ErrInjected):
			continue
		case err != nil:
			return 0, err
		}
		if len(slots) == 0 {
			return next, nil
		}
		for _, s := range slots {
			if s.Seq == next { // one missing between others has come since: read again
				next++
			}
		}
	}
	return 0, ctx.Err()
}

// collect reads the log without faults until stop says that all is in, and lets
// truncate know how far it has come.
func collect(ctx context.Context, l *slotlog.Log, seen *atomic.Uint64, stop func() bool) (map[uint64]string, error) {
	log := map[uint64]string{}
	for ctx.Err() == nil {
		last := stop() // before the read, so that it sees all
		slots, err := l.Read(ctx, seen.Load()+1, 10)
		if err != nil {
			return nil, err
		}
		for _, s := range slots {
			if s.Seq == seen.Load()+1 {
				log[s.Seq] = string(s.Payload)
				seen.Store(s.Seq)
			}
		}
		if last && len(slots) == 0 {
			return log, nil
		}
	}
	return nil, ctx.Err()
}

// TestRacingAppenders: on a store that fails, loses, applies without saying so, and
// applies late, while the log is truncated behind a reader: each slot has one
// winner, each successful append is in the log exactly once, and no success is told
// as taken or the reverse.
func TestRacingAppenders(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("mem seed ", seed), func(t *testing.T) { raceAppenders(t, kv.NewMem(), seed) })
	}
	t.Run("bolt", func(t *testing.T) { raceAppenders(t, openBolt(t), 99) })
}

func raceAppenders(t *testing.T, s kv.Store, seed uint64) {
	const appenders, payloads = 6, 15
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	flaky := kv.NewFlaky(s, seed, kv.FlakyRates{Fail: 0.1, Lost: 0.1, Landed: 0.15, Late: 0.15, Read: 0.1})

	var seen atomic.Uint64
	var running atomic.Int32
	running.Store(appenders)
	all := make([]*appender, appenders)
	errs := make([]error, appenders+1)
	var wg sync.WaitGroup
	for i := range all {
		all[i] = &appender{log: slotlog.Open(flaky, "race"), name: fmt.Sprint("appender", i)}
		wg.Go(func() {
			defer running.Add(-1)
			errs[i] = all[i].run(ctx, payloads)
		})
	}
	wg.Go(func() { // a failure in between is made good by the next
		for running.Load() > 0 {
			if err := slotlog.Open(flaky, "race").Truncate(ctx, seen.Load()); err != nil && !errors.Is(err, kv.ErrInjected) {
				errs[appenders] = err
				return
			}
		}
	})
	log, err := collect(ctx, slotlog.Open(s, "race"), &seen, func() bool { return running.Load() == 0 })
	wg.Wait()
	require.NoError(t, err)
	for _, err := range errs {
		require.NoError(t, err)
	}
	checkHistory(t, log, all)
}

func checkHistory(t *testing.T, log map[uint64]string, all []*appender) {
	places := map[string][]uint64{} // of each payload
	for seq, payload := range log {
		places[payload] = append(places[payload], seq)
	}
	succeeded, taken := 0, 0
	for _, a := range all {
		for _, try := range a.attempts {
			switch {
			case try.err == nil:
				succeeded++
				require.Equal(t, []uint64{try.seq}, places[try.payload], "%+v", try)
			case errors.Is(try.err, slotlog.ErrTaken):
				taken++
				require.NotEqual(t, try.payload, log[try.seq], "%+v", try)
			case errors.Is(try.err, slotlog.ErrTruncated):
				require.LessOrEqual(t, len(places[try.payload]), 1, "%+v", try)
			default:
				require.NotEqual(t, try.payload, log[try.seq], "known not to be written: %+v", try)
			}
		}
	}
	for payload, at := range places {
		require.Len(t, at, 1, payload)
	}
	require.NotZero(t, succeeded)
	require.NotZero(t, taken)
}
