package broker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// A client of either transaction version reads of many transactions, out of every tier, what it
// committed and nothing else.
func TestTransactionsOfClients(t *testing.T) {
	const transactions, each = 40, 6
	for name, opts := range map[string][]kgo.Opt{"v1": {kgo.MaxVersions(kversion.V3_6_0())}, "v2": nil} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t)
			n.mustCreate(wantTopic("t", 3, 1))
			producer := n.kgo(append([]kgo.Opt{kgo.TransactionalID("txn-" + name), kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner())}, opts...)...)
			committed := map[string]bool{}
			for i := range transactions {
				require.NoError(t, producer.BeginTransaction())
				var records []*kgo.Record
				for j := range each {
					records = append(records, kgo.StringRecord(fmt.Sprintf("%d/%d", i, j)))
				}
				require.NoError(t, producer.ProduceSync(t.Context(), records...).FirstErr(), "transaction %d", i)
				commit := kgo.TransactionEndTry(i%3 != 0)
				require.NoError(t, producer.EndTransaction(t.Context(), commit))
				for _, r := range records {
					if commit {
						committed[string(r.Value)] = true
					}
				}
				if i%10 == 5 {
					require.NoError(t, n.storage.sealer.SealAll(t.Context()))
				}
			}
			consumer := n.kgo(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxPartitionBytes(300))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for len(committed) > 0 {
				f := consumer.PollFetches(ctx)
				require.NoError(t, f.Err())
				f.EachRecord(func(r *kgo.Record) {
					require.True(t, committed[string(r.Value)], "%s was committed, and is read once", r.Value)
					delete(committed, string(r.Value))
				})
			}
		})
	}
}
