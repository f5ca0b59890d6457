package main

import (
	"context"
	"time"

	"github.com/forebaylog/forebay/localstack/faultproxy"
)

// lateUpload holds the WAL uploads of a broker until others have taken over from it, which
// it either survives without its table or does not, and lets them land then: they must be
// orphans.
func lateUpload(ctx context.Context, e *env) error {
	p := e.processes()
	brokers := p.Brokers()
	return e.rounds(ctx, time.Second, 2*time.Second, func(round int) error {
		b := brokers[e.rng.IntN(len(brokers))]
		release := p.Store.Add(faultproxy.Rule{
			Name: "upload held", Action: faultproxy.Hold(nil),
			Match: faultproxy.Match{Client: b.Name, Method: "PUT", Path: "/wal/"},
		})
		defer release()
		if err := e.pause(ctx, e.between(200*time.Millisecond, time.Second)); err != nil {
			return err
		}
		if round%2 == 0 {
			if err := b.Kill(); err != nil {
				return err
			}
			e.rec.struck("kill -9", 1)
		} else {
			restore := p.Table.Add(faultproxy.Rule{Name: "table cut off", Match: faultproxy.Match{Client: b.Name}, Action: faultproxy.LoseRequest()})
			defer restore()
		}
		if err := e.pause(ctx, 2*lease+time.Second); err != nil {
			return err
		}
		release()
		if err := e.pause(ctx, e.between(0, time.Second)); err != nil {
			return err
		}
		return p.StartAll(ctx)
	})
}
