package broker

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/transactions"
)

// ListTransactions (key 66), versions 0 to 2: the transactional ids that this broker coordinates. From
// 1 on with a filter by duration, from 2 on by a pattern that the whole id has to match. No deviations.

func handleListTransactions(_ context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.ListTransactionsRequest](c)
	resp := responseTo[*kmsg.ListTransactionsResponse](req)
	wanted, err := listedTransactions(req, b.cfg.Now())
	if err != nil {
		resp.ErrorCode = c.code(err)
		return resp
	}
	all := b.txns.each(func(e *txnEntry) {
		if e.item.State == transactions.None || !wanted(&e.item) {
			return
		}
		s := kmsg.NewListTransactionsResponseTransactionState()
		s.TransactionalID, s.ProducerID, s.TransactionState = e.item.ID, int64(e.item.Producer), e.item.State.String()
		resp.TransactionStates = append(resp.TransactionStates, s)
	})
	if !all {
		resp.TransactionStates = nil
		resp.ErrorCode = c.code(fmt.Errorf("list transactions: %w", kerr.CoordinatorLoadInProgress))
		return resp
	}
	for _, name := range req.StateFilters {
		if !knownTxnState(name) {
			resp.UnknownStateFilters = append(resp.UnknownStateFilters, name)
		}
	}
	return resp
}

// knownTxnState reports whether Kafka has a state of that name. Those that Forebay has not are passing ones.
func knownTxnState(name string) bool {
	for s := transactions.Empty; s <= transactions.CompleteAbort; s++ {
		if s.String() == name {
			return true
		}
	}
	return name == "Dead" || name == "PrepareEpochFence"
}

// listedTransactions returns which ids a request wants. It fails with INVALID_REGULAR_EXPRESSION.
func listedTransactions(req *kmsg.ListTransactionsRequest, now time.Time) (func(*transactions.Item) bool, error) {
	var pattern *regexp.Regexp
	if req.Version >= 2 && req.TransactionalIDPattern != nil && *req.TransactionalIDPattern != "" {
		var err error
		if pattern, err = regexp.Compile("^(?:" + *req.TransactionalIDPattern + ")$"); err != nil {
			return nil, fmt.Errorf("list transactions: %w: %w", kerr.InvalidRegularExpression, err)
		}
	}
	longer := time.Duration(req.DurationFilterMillis) * time.Millisecond
	return func(it *transactions.Item) bool {
		return (len(req.ProducerIDFilters) == 0 || slices.Contains(req.ProducerIDFilters, int64(it.Producer))) &&
			(len(req.StateFilters) == 0 || slices.Contains(req.StateFilters, it.State.String())) &&
			(req.Version < 1 || req.DurationFilterMillis < 0 || openFor(&it.Transaction, now, longer)) &&
			(pattern == nil || pattern.MatchString(it.ID))
	}, nil
}
