package main

import (
	"context"
	"time"

	"github.com/forebaylog/forebay/localstack/faultproxy"
)

// slots matches the commits of WAL streams.
var slots = faultproxy.Match{Operation: "PutItem", Body: "slot/wal/"}

// lostReply loses the replies to a third of the slot commits, and of all other writes to
// the table a tenth: they were applied, and who tries again must find that out.
func lostReply(ctx context.Context, e *env) error {
	table := e.processes().Table
	defer table.Add(faultproxy.Rule{Name: "slot reply lost", Match: slots, Chance: 0.3, Action: faultproxy.LoseReply()})()
	defer table.Add(faultproxy.Rule{Name: "write reply lost", Match: faultproxy.Match{Operation: "PutItem"}, Chance: 0.1, Action: faultproxy.LoseReply()})()
	return e.rounds(ctx, time.Second, time.Second, func(int) error { return nil })
}
