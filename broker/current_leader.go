package broker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// A client that came to the wrong broker, or with an old epoch, is told who leads the
// partition and where that broker is, so that it moves on without a look at the metadata
// (KIP-951).

// The first versions of Produce and Fetch whose clients look for it.
const (
	produceLeaderVersion = 10
	fetchLeaderVersion   = 16
)

// currentLeader is who leads a partition.
type currentLeader struct {
	id    id.Broker
	epoch id.Epoch
}

// leaderHints gathers what one response tells of leaders.
type leaderHints struct {
	img      *metalog.Image
	listener string     // where the client has connected
	nodes    []endpoint // of the leaders told, each once
}

// of returns the leader that is to be told with an error code. There is none for other
// codes, and none where the client could not go: nobody leads, or the leader is fenced or
// has not the client's listener.
func (h *leaderHints) of(code int16, p id.Partition) (currentLeader, bool) {
	if code != kerr.NotLeaderForPartition.Code && code != kerr.FencedLeaderEpoch.Code {
		return currentLeader{}, false
	}
	state, ok := h.img.Partition(p)
	if !ok {
		return currentLeader{}, false
	}
	if !slices.ContainsFunc(h.nodes, func(e endpoint) bool { return e.id == state.Leader }) {
		node, ok := h.img.Broker(state.Leader)
		if !ok || node.Fenced {
			return currentLeader{}, false
		}
		at, ok := endpointOf(node, h.listener)
		if !ok {
			return currentLeader{}, false
		}
		h.nodes = append(h.nodes, at)
	}
	return currentLeader{state.Leader, state.Epoch}, true
}
