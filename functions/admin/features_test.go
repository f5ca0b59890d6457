package admin

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
)

// openSession has a broker be alive that supports levels of the metadata up to most.
func (r *rig) openSession(most int16) *session.Session {
	s, err := session.Open(r.t.Context(), session.Config{Store: r.cfg.Metadata, Node: 2, Info: "old:9092", Features: core.Supported(core.Features(most))})
	require.NoError(r.t, err)
	return s
}

func TestFeatures(t *testing.T) {
	r := newRig(t)
	s := r.openSession(1)
	all := ask[Features](r, http.MethodGet, "/v1/features", "")
	require.Len(t, all.Features, 2)
	require.Equal(t, Feature{
		Name: metalog.LevelFeature, Level: 2, Min: 1, Max: 2, Brokers: []FeatureSupport{{Broker: 2, Min: 1, Max: 1}},
	}, all.Features[0])
	require.Equal(t, FeatureSupport{Broker: 2, Min: 0, Max: 2}, all.Features[1].Brokers[0])

	const own, transactions = "/v1/features/" + metalog.LevelFeature, "/v1/features/" + core.TransactionFeature
	p := r.refused(http.StatusConflict, "INVALID_UPDATE_VERSION", http.MethodPatch, own, `{"level":2}`)
	require.Contains(t, p.Detail, "broker 2 (old:9092) supports levels 1 to 1")
	require.NoError(t, s.Close(t.Context()))
	require.False(t, ask[Changed](r, http.MethodPatch, own, `{"level":2}`).DryRun)
	r.refused(http.StatusConflict, "INVALID_UPDATE_VERSION", http.MethodPatch, own, `{"level":1,"type":"unsafe_downgrade"}`)
	r.refused(http.StatusNotFound, "", http.MethodPatch, "/v1/features/metadata.version", `{"level":2}`)

	version := r.image().Version()
	require.True(t, ask[Changed](r, http.MethodPatch, transactions+"?dry_run=true", `{"level":1,"type":"safe_downgrade"}`).DryRun)
	require.Equal(t, version, r.image().Version())
	r.refused(http.StatusConflict, "INVALID_UPDATE_VERSION", http.MethodPatch, transactions, `{"level":1}`)
	done := ask[Changed](r, http.MethodPatch, transactions, `{"level":1,"type":"safe_downgrade"}`, "Idempotency-Key: k")
	require.Equal(t, version+1, done.Version)
	require.True(t, ask[Changed](r, http.MethodPatch, transactions, `{"level":1,"type":"safe_downgrade"}`, "Idempotency-Key: k").Repeat)
	require.EqualValues(t, 1, core.TransactionVersion(r.image()))
}
