package main

import (
	"context"
	"time"

	"github.com/forebaylog/forebay/localstack/faultproxy"
)

// badAnswers makes a fifth of the store's answers bad: busy, failed, slow, lost on either
// way, cut in the middle, or in another order.
func badAnswers(ctx context.Context, e *env) error {
	store := e.processes().Store
	for name, action := range map[string]faultproxy.Action{
		"503": faultproxy.Busy(), "500": faultproxy.Fail(), "slow": faultproxy.Delay(200*time.Millisecond, 2*time.Second),
		"request lost": faultproxy.LoseRequest(), "reply lost": faultproxy.LoseReply(), "request cut": faultproxy.CutRequest(),
		"reply cut": faultproxy.CutReply(), "reordered": faultproxy.Reorder(2 * time.Second),
	} {
		defer store.Add(faultproxy.Rule{Name: name, Chance: 0.0275, Action: action})() // of eight: a fifth
	}
	return e.rounds(ctx, time.Second, time.Second, func(int) error { return nil })
}
