package id_test

import (
	"cmp"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
)

func TestNewTopic(t *testing.T) {
	seen := make(map[id.Topic]bool)
	for range 10_000 {
		topic := id.NewTopic()
		require.NotEqual(t, byte('-'), topic.String()[0])
		require.Equal(t, byte(0x40), topic[6]&0xf0, "version 4")
		require.Equal(t, byte(0x80), topic[8]&0xc0, "variant")
		require.False(t, topic.IsZero())
		require.False(t, seen[topic])
		seen[topic] = true
	}
	require.True(t, id.Topic{}.IsZero())
}

func TestNewSession(t *testing.T) {
	seen := make(map[id.Session]bool)
	for range 10_000 {
		session := id.NewSession()
		require.Regexp(t, "^[A-Za-z0-9_][A-Za-z0-9_-]{21}$", session.String())
		require.False(t, seen[session])
		seen[session] = true
	}
}

func TestParseTopicTakesOnlyWhatStringWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topic := id.Topic(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "topic"))
		parsed, err := id.ParseTopic(topic.String())
		require.NoError(t, err)
		require.Equal(t, topic, parsed)
	})
	for _, text := range []string{
		"", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAA+/",
		"AAAAAAAAAAAAAAAAAAAAAA\n", "\nAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAB", // spare bits set
		"00000000-0000-0000-0000-000000000000",
	} {
		_, err := id.ParseTopic(text)
		require.ErrorContains(t, err, "parse topic id", "%q", text)
	}
}

func TestPartitionOrder(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) id.Partition {
		return id.Partition{
			Topic: id.Topic{0: rapid.ByteRange(0, 2).Draw(t, "first"), 15: rapid.ByteRange(0, 2).Draw(t, "last")},
			Index: rapid.Int32().Draw(t, "index"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		want := cmp.Or(
			cmp.Compare(a.Topic[0], b.Topic[0]), cmp.Compare(a.Topic[15], b.Topic[15]), cmp.Compare(a.Index, b.Index))
		require.Equal(t, want, cmp.Compare(a.Compare(b), 0))
		require.Equal(t, a == b, a.Compare(b) == 0)
	})
}

func TestStrings(t *testing.T) {
	require.Equal(t, "AAAAAAAAAAAAAAAAAAAAAA-7", id.Partition{Index: 7}.String())
	require.Equal(t, "42", id.Offset(42).String())
	require.Equal(t, "3", id.Epoch(3).String())
	require.Equal(t, "1", id.Broker(1).String())
	require.Equal(t, "00000000000000ff", id.Segment(255).String())
}
