package rig

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKafkaNeedsJars(t *testing.T) {
	_, err := StartKafka(t.Context(), KafkaConfig{Dir: t.TempDir()})
	require.ErrorContains(t, err, "FOREBAY_JARS")
}
