package main

import (
	"context"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
)

// metadataLevel is how far the formats of a cluster's metadata are raised.
type metadataLevel struct {
	Level     int16 `json:"level"`
	Supported int16 `json:"supported"` // by all brokers
}

// behind says that the level may be raised, "" if it is as high as it can be.
func (m *metadataLevel) behind() string {
	if m == nil || m.Level >= m.Supported {
		return ""
	}
	return fmt.Sprintf("%s is at level %d, and all brokers support %d", metalog.LevelFeature, m.Level, m.Supported)
}

// raiseHint is what to do about a level that is behind.
func (m *metadataLevel) raiseHint() string {
	return fmt.Sprintf("once you will not go back to the release before: kafka-features.sh upgrade --feature %s=%d", metalog.LevelFeature, m.Supported)
}

// checked is a finding of doctor.
func (m *metadataLevel) checked() (string, error) {
	if behind := m.behind(); behind != "" {
		return "", warn(m.raiseHint(), "%s", behind)
	}
	return fmt.Sprintf("%s is at level %d", metalog.LevelFeature, m.Level), nil
}

// levelOf asks all brokers; nil if they are not Forebay's, or older than levels.
func levelOf(ctx context.Context, adm *kadm.Client) (*metadataLevel, error) {
	all, err := adm.ApiVersions(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the features: %w", err)
	}
	m := &metadataLevel{Supported: math.MaxInt16}
	for _, b := range all {
		if b.Err != nil {
			continue // not reached, which other checks tell
		}
		most := int16(0)
		for _, f := range b.Raw().SupportedFeatures {
			if f.Name == metalog.LevelFeature {
				most = f.MaxVersion
			}
		}
		m.Supported = min(m.Supported, most)
		for _, f := range b.Raw().FinalizedFeatures {
			if f.Name == metalog.LevelFeature {
				m.Level = max(m.Level, f.MaxVersionLevel) // some may not have heard of it yet
			}
		}
	}
	if m.Level == 0 {
		return nil, nil
	}
	return m, nil
}

// storedLevel is the level as the stores have it.
func (c *doctoredCluster) storedLevel() *metadataLevel {
	m := &metadataLevel{Level: c.image.Level(), Supported: metalog.LatestLevel}
	for _, f := range admin.Features(metalog.LatestLevel) {
		for _, s := range c.sessions {
			if f.Name == metalog.LevelFeature {
				m.Supported = min(m.Supported, f.Supports(s).Max)
			}
		}
	}
	return m
}
