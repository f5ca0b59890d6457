package broker

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// unbalanced leaves partitions where a test puts them.
func unbalanced(cfg *Config) { cfg.Cluster.Rebalance = time.Hour }

// leader is who leads a partition.
func (c *testCluster) leader(topic string, index int32) id.Broker {
	c.t.Helper()
	_, p, err := findPartition(c.image(), topic, index)
	require.NoError(c.t, err)
	return p.Leader
}

// aim sets the target of a partition, as a reassignment does.
func (c *testCluster) aim(topic string, index int32, to id.Broker) {
	c.t.Helper()
	at, _, err := findPartition(c.image(), topic, index)
	require.NoError(c.t, err)
	_, err = c.any().meta.Update(context.Background(), func(*metalog.Image) ([]metalog.Record, error) {
		return []metalog.Record{metalog.TargetsSet{Targets: []metalog.PartitionTarget{{Partition: at, Target: to}}}}, nil
	})
	require.NoError(c.t, err)
}

// any is a member that reaches the table.
func (c *testCluster) any() *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if !m.cut.Load() && !m.closing() {
			return m
		}
	}
	require.Fail(c.t, "nobody is there")
	return nil
}

// move has a partition handed over and waits until it is.
func (c *testCluster) move(topic string, index int32, to id.Broker) {
	c.t.Helper()
	c.aim(topic, index, to)
	eventually(c.t, "the move", func() bool { return c.leader(topic, index) == to })
}

// awaitServing waits until a broker serves a partition.
func (c *testCluster) awaitServing(topic string, index int32, node id.Broker) {
	c.t.Helper()
	c.mu.Lock()
	m := c.members[node]
	c.mu.Unlock()
	eventually(c.t, "the new leader", func() bool {
		_, err := m.storage.logByName(topic, index)
		return err == nil
	})
}
