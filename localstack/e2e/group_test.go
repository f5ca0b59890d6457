//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// Three members of a group consume; when half of the lines are there, the one that got most
// is killed, and the other half is produced. A killed member has not committed all it got,
// so others get that again: delivery is at least once. Each place of the topic must have been
// delivered, always with the same bytes, twice only if the killed member had it, and at the
// end the group must have committed the end of each partition.
func TestGroupOfThreeWithOneKilled(t *testing.T) {
	shared.roll(t)
	for i, c := range consumers {
		for j, partitions := range pick(i, 1, 6, 100) {
			p, codec := producers[(i+j)%len(producers)], codecs[(i+3*j)%len(codecs)]
			t.Run(fmt.Sprintf("%s-%d-%s-%s", c.name(), partitions, p.name(), codec), func(t *testing.T) {
				t.Parallel()
				topic := newTopic(t, shared.Addr, partitions)
				consumeInGroup(t, shared.Addr, topic, c, p, codec, flights(t))
			})
		}
	}
}

// member is a running member of a group.
type member struct {
	*rig.Process
	read  <-chan struct{}
	lines atomic.Int64
	got   *history // of this member alone
}

func join(t *testing.T, c consumer, addr, group, topic string, h *history) *member {
	t.Helper()
	m := &member{got: newHistory()}
	var err error
	m.Process, m.read, err = stream(c.name(), c.member(t.Context(), addr, group, topic), tee{h, m.got},
		func(n int) { m.lines.Store(int64(n)) })
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = m.Kill() // it has ended unless the test failed before
		if t.Failed() {
			t.Logf("member %d:\n%s", m.PID(), m.Output())
		}
	})
	return m
}

func consumeInGroup(t *testing.T, addr, topic string, c consumer, p producer, codec string, events []event) {
	t.Helper()
	half := len(events) / 2
	produce(t, p, addr, topic, codec, events[:half])

	h, group := newHistory(), "group-of-"+topic
	members := joinThree(t, c, addr, group, topic, h)
	ctx := timeout(t, stepLimit)
	require.NoError(t, h.await(ctx, half/2))
	survivors := killBusiest(t, members)
	produce(t, p, addr, topic, codec, events[half:])
	require.NoError(t, h.await(ctx, len(events)))
	requireWorked(ctx, t, survivors, addr, group, topic, h, events)
}

func joinThree(t *testing.T, c consumer, addr, group, topic string, h *history) []*member {
	t.Helper()
	var members []*member
	for range 3 {
		members = append(members, join(t, c, addr, group, topic, h))
	}
	return members
}

// killBusiest kills the member that was given most, and returns the others.
func killBusiest(t *testing.T, members []*member) (survivors []*member) {
	t.Helper()
	busiest := slices.MaxFunc(members, func(a, b *member) int { return int(a.lines.Load() - b.lines.Load()) })
	require.NoError(t, busiest.Kill())
	<-busiest.read
	return slices.DeleteFunc(slices.Clone(members), func(m *member) bool { return m == busiest })
}

// requireWorked ends the members that are left and checks what the group has got and committed.
func requireWorked(ctx context.Context, t *testing.T, members []*member, addr, group, topic string, h *history, events []event) {
	t.Helper()
	leaveInPeace(ctx, t, members, addr, group, topic)
	h.requireWhole(t, events)
	requireCommitted(t, addr, group, topic)
}

// leaveInPeace ends members when no broker is being restarted, and when they have what they shall
// commit: the last record of each partition, which the member that was killed may have had first, or
// got and committed. In a cluster it waits until they have committed all: after the
// coordinator has gone they may read some of it again.
func leaveInPeace(ctx context.Context, t *testing.T, members []*member, addr, group, topic string) {
	t.Helper()
	shared.peace.Lock()
	defer shared.peace.Unlock()
	got := func(last at) bool {
		return !againstCluster() && slices.ContainsFunc(members, func(m *member) bool { return m.got.has(last) })
	}
	require.NoError(t, rig.Await(ctx, func(ctx context.Context) error {
		ends, _, err := endOffsets(ctx, addr, topic)
		if err != nil {
			return err
		}
		offsets, err := committed(ctx, addr, group, topic)
		for partition, end := range ends {
			if err == nil && end > 0 && offsets[partition] != end && !got(at{partition, end - 1}) {
				err = fmt.Errorf("%s has committed %d of %d in partition %d", group, offsets[partition], end, partition)
			}
		}
		return err
	}))
	leave(ctx, t, members)
}

// leave ends members as a service manager would, so that they commit.
func leave(ctx context.Context, t *testing.T, members []*member) {
	t.Helper()
	for _, m := range members {
		_, err := m.Stop(time.Minute)
		require.NoError(t, err, m.Output())
		select {
		case <-m.read:
		case <-ctx.Done():
			t.Fatal("the output of a member that has ended does not end")
		}
	}
}

// requireCommitted checks that the group has committed the end of each partition that holds records.
func requireCommitted(t *testing.T, addr, group, topic string) {
	t.Helper()
	ctx := timeout(t, stepLimit)
	ends, _, err := endOffsets(ctx, addr, topic)
	require.NoError(t, err)
	offsets, err := committed(ctx, addr, group, topic)
	require.NoError(t, err)
	for partition, end := range ends {
		if end > 0 {
			require.Equal(t, end, offsets[partition], "committed offset of partition %d", partition)
		}
	}
}
