package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTransactionCommands(t *testing.T) {
	n := startBroker(t)
	require.Equal(t, "[]\n", succeed(t, "", "transaction", "list", "-o", "json"))
	succeed(t, "", "topic", "create", "events", "--partitions", "2")
	for _, name := range []string{"closed", "open"} {
		producer, err := kgo.NewClient(kgo.SeedBrokers(n.addr), kgo.TransactionalID(name), kgo.DefaultProduceTopic("events"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		require.NoError(t, err)
		defer producer.Close()
		require.NoError(t, producer.BeginTransaction())
		for index := range int32(2) {
			require.NoError(t, producer.ProduceSync(t.Context(), &kgo.Record{Partition: index, Value: []byte("x")}).FirstErr())
		}
		if name == "closed" {
			require.NoError(t, producer.EndTransaction(t.Context(), kgo.TryCommit))
		}
	}
	golden(t, "transaction-list", succeed(t, "", "transaction", "list", "--state", "Ongoing"))
	golden(t, "transaction-describe", succeed(t, "", "transaction", "describe", "open"))

	var listed []listedTransaction
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "", "transaction", "list", "-o", "json")), &listed))
	require.Len(t, listed, 2)
	require.Equal(t, "closed", listed[0].TransactionalID)
	var described []describedTransaction
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "", "transaction", "describe", "open", "closed", "-o", "json")), &described))
	require.Len(t, described, 2)
	require.Equal(t, []transactionPartition{{"events", 0}, {"events", 1}}, described[0].Partitions)
	require.NotNil(t, described[0].Started)
	require.Equal(t, int16(1), described[1].Epoch)

	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"transaction", "describe", "nope"}, exitFailed, "TRANSACTIONAL_ID_NOT_FOUND"},
		{[]string{"transaction", "list", "--state", "Open"}, exitUsage, "no such state"},
	} {
		r := forebay(t, "", tt.args...)
		require.Equal(t, tt.code, r.code, r.err)
		require.Contains(t, r.err, tt.says)
		require.Empty(t, r.out)
	}
}
