package metalog

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func audit(key string, at time.Duration) Audited {
	return Audited{At: at.Milliseconds(), By: "User:alice", Action: "topic.create", Key: key, Digest: "of " + key}
}

func TestIdempotencyKeys(t *testing.T) {
	m := NewImage("c", audit("a", 0), audit("", 0), audit("b", time.Hour))
	require.Zero(t, m.Ignored())
	got, ok := m.Idempotent("a")
	require.True(t, ok)
	require.Equal(t, Outcome{Key: "a", By: "User:alice", Action: "topic.create", Digest: "of a", Slot: 1}, got)
	_, ok = m.Idempotent("")
	require.False(t, ok)

	again := audit("a", 2*time.Hour)
	again.Digest = "another"
	next := fold(m, []Slot{{2, []Record{again, Audited{By: "x"}, Audited{Action: "x"}}}})
	require.Equal(t, uint64(3), next.Ignored())
	got, _ = next.Idempotent("a")
	require.Equal(t, "of a", got.Digest, "the first one counts")

	next = fold(next, []Slot{{3, []Record{audit("c", 24*time.Hour)}}, {4, []Record{audit("d", 24*time.Hour+time.Millisecond)}}})
	for key, want := range map[string]bool{"a": false, "b": true, "c": true, "d": true} {
		_, ok := next.Idempotent(key)
		require.Equal(t, want, ok, key)
	}
	_, ok = m.Idempotent("a")
	require.True(t, ok, "an Image never changes")
	_, ok = m.Idempotent("c")
	require.False(t, ok, "an Image never changes")
	require.Equal(t, uint64(4), func() uint64 { o, _ := next.Idempotent("d"); return o.Slot }())
}

// TestIdempotencyKeysAreBounded: a clock that is far ahead or behind neither keeps more nor refuses new ones.
func TestIdempotencyKeysAreBounded(t *testing.T) {
	m := NewImage("c")
	for i := range MaxKeys + 10 {
		m = fold(m, []Slot{{m.Version() + 1, []Record{audit(fmt.Sprint(i), 0)}}})
	}
	require.Len(t, m.keys, MaxKeys)
	_, ok := m.Idempotent("9")
	require.False(t, ok)
	_, ok = m.Idempotent("10")
	require.True(t, ok)
	requireSnapshotEqual(t, m)
	m = fold(m, []Slot{{m.Version() + 1, []Record{audit("ahead", 1<<55), audit("now", 0)}}})
	require.Len(t, m.keys, 2)
}
