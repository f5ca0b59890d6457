package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
)

func TestStatusTellsTheLevel(t *testing.T) {
	node := startBroker(t)
	var s clusterStatus
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "", "status", "-o", "json")), &s))
	require.Equal(t, &metadataLevel{metalog.LatestLevel, metalog.LatestLevel}, s.Metadata)
	require.NotContains(t, succeed(t, "", "status"), metalog.LevelFeature)
	require.Contains(t, succeed(t, "", "doctor"), "forebay.metadata.version is at level 2")
	require.Equal(t, exitOK, node.stop(t), node.err)

	s.Metadata.Level = 1
	shown := s.tables()
	require.Contains(t, shown[1].title, "forebay.metadata.version is at level 1, and all brokers support 2")
}

// TestDoctorTellsALevelThatIsBehind: but not before all brokers support another.
func TestDoctorTellsALevelThatIsBehind(t *testing.T) {
	d := doctored(t, "127.0.0.1:1")
	_, err := d.cluster.storedLevel().checked()
	require.NoError(t, err, "broker 1 does not tell which levels it supports")
	d.cluster.sessions = []session.Seen{{Node: 1, Features: admin.Supported(admin.Features(2))}}
	_, err = d.cluster.storedLevel().checked()
	require.True(t, isWarning(err))
	require.Contains(t, mend(err), "kafka-features.sh upgrade --feature forebay.metadata.version=2")
}
