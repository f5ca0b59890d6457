package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// transactionStates are the states that a transactional id may be in.
var transactionStates = []string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"}

func newTransaction() *cobra.Command {
	client := &clientFlags{}
	cmd := newNoun("transaction", "List and describe transactional ids", "", newTransactionList(client), newTransactionDescribe(client))
	client.register(cmd.PersistentFlags())
	return cmd
}

func newTransactionList(client *clientFlags) *cobra.Command {
	var out output
	var states []string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List transactional ids",
		Example: "  forebay transaction list\n  forebay transaction list --state Ongoing -o json | jq -r '.[].transactional_id'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, s := range states {
				if !slices.Contains(transactionStates, s) {
					return usageErrorf("--state %s: no such state, use some of %v", s, transactionStates)
				}
			}
			return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				return runTransactionList(ctx, cmd, adm, out, states)
			})
		},
	}
	out.register(cmd.Flags())
	cmd.Flags().StringSliceVar(&states, "state", nil, "only those in one of these states")
	return cmd
}

// listedTransaction is a transactional id in the output of transaction list.
type listedTransaction struct {
	TransactionalID string `json:"transactional_id"`
	State           string `json:"state"`
	Producer        int64  `json:"producer"`
	Coordinator     int32  `json:"coordinator"`
}

func runTransactionList(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, out output, states []string) error {
	found, err := adm.ListTransactions(ctx, nil, states)
	if err != nil {
		return fmt.Errorf("list transactions: %w", err)
	}
	listed := []listedTransaction{}
	t := newTable("TRANSACTIONAL ID", "STATE", "PRODUCER", "COORDINATOR")
	for _, l := range found.Sorted() {
		listed = append(listed, listedTransaction{l.TxnID, l.State, l.ProducerID, l.Coordinator})
		t.add(l.TxnID, l.State, l.ProducerID, l.Coordinator)
	}
	return out.print(cmd, listed, t)
}

func newTransactionDescribe(client *clientFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:     "describe ID...",
		Short:   "Show the state, the producer and the partitions of transactional ids",
		Example: "  forebay transaction describe payments-1\n  forebay transaction describe payments-1 -o json | jq '.[].partitions'",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				return runTransactionDescribe(ctx, cmd, adm, out, ids)
			})
		},
	}
	out.register(cmd.Flags())
	return cmd
}

// describedTransaction is a transactional id in the output of transaction describe.
type describedTransaction struct {
	TransactionalID string                 `json:"transactional_id"`
	State           string                 `json:"state"`
	Producer        int64                  `json:"producer"`
	Epoch           int16                  `json:"epoch"`
	Coordinator     int32                  `json:"coordinator"`
	TimeoutMillis   int32                  `json:"timeout_ms"`
	Started         *int64                 `json:"started"` // ms since 1970 of the last transaction; null: there was none
	Partitions      []transactionPartition `json:"partitions"`
}

type transactionPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

func runTransactionDescribe(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, out output, ids []string) error {
	found, err := adm.DescribeTransactions(ctx, ids...)
	if err != nil && len(found) == 0 {
		return fmt.Errorf("describe transactions: %w", err)
	}
	described := []describedTransaction{}
	var tables []*table
	errs := []error{err}
	for _, name := range ids {
		switch d, ok := found[name]; {
		case !ok && err == nil:
			errs = append(errs, fmt.Errorf("describe transactional id %s: there is no answer", name))
		case !ok: // err says why
		case d.Err != nil:
			errs = append(errs, fmt.Errorf("describe transactional id %s: %w", name, d.Err))
		default:
			described = append(described, describeTransaction(d))
			tables = append(tables, described[len(described)-1].table())
		}
	}
	if len(described) > 0 {
		errs = append(errs, out.print(cmd, described, tables...))
	}
	return errors.Join(errs...)
}

func describeTransaction(d kadm.DescribedTransaction) describedTransaction {
	t := describedTransaction{
		TransactionalID: d.TxnID, State: d.State, Producer: d.ProducerID, Epoch: d.ProducerEpoch, Coordinator: d.Coordinator,
		TimeoutMillis: d.TimeoutMillis, Partitions: []transactionPartition{},
	}
	if d.StartTimestamp >= 0 {
		t.Started = &d.StartTimestamp
	}
	for _, topic := range d.Topics.Sorted() {
		for _, p := range topic.Partitions {
			t.Partitions = append(t.Partitions, transactionPartition{topic.Topic, p})
		}
	}
	return t
}

// table is the partitions.
func (t describedTransaction) table() *table {
	started := "never"
	if t.Started != nil {
		started = showMillis(*t.Started)
	}
	partitions := newTable("TOPIC", "PARTITION")
	partitions.title = fmt.Sprintf("Transactional id %s, state %s, producer %d, epoch %d, coordinator %d, timeout %v, started %s",
		t.TransactionalID, t.State, t.Producer, t.Epoch, t.Coordinator, time.Duration(t.TimeoutMillis)*time.Millisecond, started)
	for _, p := range t.Partitions {
		partitions.add(p.Topic, p.Partition)
	}
	return partitions
}
