package broker

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/id"
)

// transact copies records in transactions from a topic to another, aborts each third
// transaction, and expects that what is committed is each record once.
func transact(t *testing.T, client func(...kgo.Opt) *kgo.Client) {
	const records, perTxn = 60, 5
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	admin := kadm.NewClient(client())
	_, err := admin.CreateTopics(ctx, 3, -1, nil, "in", "out")
	require.NoError(t, err)
	in := client(kgo.DefaultProduceTopic("in"))
	for i := range records {
		require.NoError(t, in.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint("r", i))).FirstErr())
	}

	session := transactSession(t, client)
	committed := map[string]bool{}
	for round := 0; len(committed) < records; round++ {
		fetches := session.PollRecords(ctx, perTxn)
		require.NoError(t, ctx.Err(), "committed %d of %d", len(committed), records)
		if fetches.NumRecords() == 0 {
			continue
		}
		require.NoError(t, session.Begin())
		var failed atomic.Bool
		for _, r := range fetches.Records() {
			session.Produce(ctx, &kgo.Record{Topic: "out", Key: r.Value, Value: r.Value}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(true)
					t.Logf("round %d: produce %s: %v", round, r.Value, err)
				}
			})
		}
		require.NoError(t, session.Client().Flush(ctx))
		done, err := session.End(ctx, kgo.TransactionEndTry(!failed.Load() && round%3 != 2))
		require.NoError(t, err)
		if done {
			for _, r := range fetches.Records() {
				committed[string(r.Value)] = true
			}
		}
	}

	reader := client(kgo.ConsumeTopics("out"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	seen := map[string]int{}
	for len(seen) < records {
		fetches := reader.PollFetches(ctx)
		require.NoError(t, ctx.Err(), "read %d of %d", len(seen), records)
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
	}
	for value, times := range seen {
		require.Equal(t, 1, times, value)
	}
}

func transactSession(t *testing.T, client func(...kgo.Opt) *kgo.Client) *kgo.GroupTransactSession {
	seeds := client().Opts()
	session, err := kgo.NewGroupTransactSession(append(seeds,
		kgo.TransactionalID("copy"), kgo.ConsumerGroup("copiers"), kgo.ConsumeTopics("in"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.TransactionTimeout(20*time.Second))...)
	require.NoError(t, err)
	t.Cleanup(session.Close)
	return session
}

func TestTransactionsOfNode(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.Groups.InitialRebalanceDelay = -1 })
	transact(t, n.kgo)
	require.Positive(t, valueOf(t, n.txns.cfg.Metrics.ends.WithLabelValues("commit")))
}

func TestTransactionsOfCluster(t *testing.T) {
	c := newTestCluster(t)
	for node := range id.Broker(3) {
		c.start(node + 1)
	}
	transact(t, c.client)
}
