package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
)

// finalized returns what clients of a version of ApiVersions learn of transaction.version.
func (n *node) finalized(version int16) (level, minimum int16, epoch int64) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.SetVersion(version)
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
	resp := ask(n, req, kmsg.NewPtrApiVersionsResponse())
	require.Len(n.t, resp.SupportedFeatures, 2)
	own := resp.SupportedFeatures[0]
	require.Equal(n.t, "forebay.metadata.version", own.Name)
	require.Equal(n.t, [2]int16{1, metalog.LatestLevel}, [2]int16{own.MinVersion, own.MaxVersion})
	require.Equal(n.t, "transaction.version", resp.SupportedFeatures[1].Name)
	require.EqualValues(n.t, 2, resp.SupportedFeatures[1].MaxVersion)
	for _, f := range resp.FinalizedFeatures {
		require.Equal(n.t, f.MinVersionLevel, f.MaxVersionLevel)
		if f.Name == own.Name {
			require.Equal(n.t, metalog.LatestLevel, f.MaxVersionLevel)
		} else {
			level = f.MaxVersionLevel
		}
	}
	return level, resp.SupportedFeatures[1].MinVersion, resp.FinalizedFeaturesEpoch
}

func (n *node) updateFeature(version int16, update kmsg.UpdateFeaturesRequestFeatureUpdate, validate bool) *kmsg.UpdateFeaturesResponse {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.SetVersion(version)
	req.FeatureUpdates, req.ValidateOnly = []kmsg.UpdateFeaturesRequestFeatureUpdate{update}, validate
	return ask(n, req, kmsg.NewPtrUpdateFeaturesResponse())
}

func TestUpdateFeatures(t *testing.T) {
	n := startNode(t)
	level, minimum, epoch := n.finalized(4)
	require.EqualValues(t, 2, level)
	require.Zero(t, minimum)
	_, minimum, _ = n.finalized(3)
	require.EqualValues(t, 1, minimum)

	update := func(name string, level int16, kind admin.Upgrade) kmsg.UpdateFeaturesRequestFeatureUpdate {
		return kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: name, MaxVersionLevel: level, UpgradeType: int8(kind)}
	}
	for name, refused := range map[string]kmsg.UpdateFeaturesRequestFeatureUpdate{
		"unknown feature":      update("metadata.version", 1, admin.UpgradeOnly),
		"level too high":       update(admin.TransactionFeature, 3, admin.UpgradeOnly),
		"negative level":       update(admin.TransactionFeature, -1, admin.SafeDowngrade),
		"upgrade that is none": update(admin.TransactionFeature, 1, admin.UpgradeOnly),
		"unknown type":         update(admin.TransactionFeature, 1, 4),
	} {
		for version := int16(1); version <= 2; version++ {
			resp := n.updateFeature(version, refused, false)
			require.Equal(t, kerr.InvalidUpdateVersion, errorOf(resp.ErrorCode), name)
			require.NotEmpty(t, *resp.ErrorMessage)
		}
	}
	require.Zero(t, n.updateFeature(2, update(admin.TransactionFeature, 1, admin.SafeDowngrade), true).ErrorCode)
	level, _, _ = n.finalized(4)
	require.EqualValues(t, 2, level, "it was only validated")

	resp := n.updateFeature(1, update(admin.TransactionFeature, 0, admin.UnsafeDowngrade), false)
	require.Zero(t, resp.ErrorCode)
	require.Len(t, resp.Results, 1)
	level, _, later := n.finalized(4)
	require.Zero(t, level)
	require.Greater(t, later, epoch)
	require.Zero(t, n.transactionVersion())
	require.Equal(t, kerr.InvalidUpdateVersion, errorOf(n.updateFeature(2, update(admin.TransactionFeature, 1, admin.SafeDowngrade), false).ErrorCode))
	require.Zero(t, n.updateFeature(2, update(admin.TransactionFeature, 2, admin.UpgradeOnly), false).ErrorCode)
	require.EqualValues(t, 2, n.transactionVersion())

	down := kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: admin.TransactionFeature, MaxVersionLevel: 1}
	require.Equal(t, kerr.InvalidUpdateVersion, errorOf(n.updateFeature(0, down, false).ErrorCode))
	down.AllowDowngrade = true
	require.Zero(t, n.updateFeature(0, down, false).ErrorCode)
	require.EqualValues(t, 1, n.transactionVersion())
}
