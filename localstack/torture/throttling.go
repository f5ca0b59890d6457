package main

import (
	"context"
	"time"

	"github.com/forebaylog/forebay/localstack/faultproxy"
)

// throttling refuses a third of the requests to the table, and at times all of them for less
// than a lease: sessions must survive it.
func throttling(ctx context.Context, e *env) error {
	table := e.processes().Table
	defer table.Add(faultproxy.Rule{Name: "throttled", Chance: 0.3, Action: faultproxy.Busy()})()
	return e.rounds(ctx, 2*time.Second, 4*time.Second, func(int) error {
		remove := table.Add(faultproxy.Rule{Name: "throttled altogether", Action: faultproxy.Busy()})
		defer remove()
		return e.pause(ctx, lease/2)
	})
}
