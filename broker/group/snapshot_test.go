package group

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzDecodeSnapshot: the decoder never panics, and what it accepts is read again from what is written.
func FuzzDecodeSnapshot(f *testing.F) {
	s := Snapshot{Generation: 3, ProtocolType: "consumer", Protocol: "range", Leader: "a", Since: time.UnixMilli(5).UTC()}
	f.Add(s.AppendTo(nil))
	s.Members = []MemberSnapshot{{
		ID: "a", Instance: new("i"), ClientID: "c", ClientHost: "/h", Session: time.Second, Rebalance: time.Minute,
		Protocols: []Protocol{{Name: "range", Metadata: []byte("m")}}, Assignment: []byte("x"),
	}}
	f.Add(s.AppendTo(nil))
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSnapshot(b)
		if err != nil {
			return
		}
		back, err := DecodeSnapshot(s.AppendTo(nil))
		require.NoError(t, err)
		require.Equal(t, s, back)
	})
}

// TestSnapshotOfNegativeTimeout: clients may tell -1 for the time that they take to join.
func TestSnapshotOfNegativeTimeout(t *testing.T) {
	s := Snapshot{Since: time.UnixMilli(5).UTC(), Members: []MemberSnapshot{{ID: "a", Session: time.Second, Rebalance: -time.Millisecond}}}
	got, err := DecodeSnapshot(s.AppendTo(nil))
	require.NoError(t, err)
	require.Zero(t, got.Members[0].Rebalance)
}
