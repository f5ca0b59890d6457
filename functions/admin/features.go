package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
)

// Feature is one whose level the cluster has agreed on.
type Feature struct {
	Name    string           `json:"name"`
	Level   int16            `json:"level" doc:"That of the cluster"`
	Min     int16            `json:"min" doc:"The lowest level that the release which answers supports"`
	Max     int16            `json:"max" doc:"The highest one"`
	Brokers []FeatureSupport `json:"brokers" doc:"Those that have a session, in order of id"`
}

// FeatureSupport is what a broker supports.
type FeatureSupport struct {
	Broker id.Broker `json:"broker"`
	Min    int16     `json:"min"`
	Max    int16     `json:"max"`
}

// Features are all features.
type Features struct {
	AsOf     time.Time `json:"as_of"`
	Features []Feature `json:"features" doc:"In order of name"`
}

type featureInput struct {
	ChangeInput
	Feature string `path:"feature"`
	Body    struct {
		Level int16  `json:"level" minimum:"0"`
		Type  string `json:"type,omitempty" enum:"upgrade,safe_downgrade,unsafe_downgrade" default:"upgrade"`
	}
}

// upgradeTypes are the ways of a level, by name.
var upgradeTypes = map[string]core.Upgrade{
	"upgrade": core.UpgradeOnly, "safe_downgrade": core.SafeDowngrade, "unsafe_downgrade": core.UnsafeDowngrade,
}

func (a *API) registerFeatures() {
	const tag = "cluster"
	handle(a, read("list-features", "/features", tag, "Levels of features, and which of them brokers support"), a.listFeatures)
	handle(a, write("update-feature", http.MethodPatch, "/features/{feature}", tag, "Sets the level of a feature", http.StatusNotFound, http.StatusServiceUnavailable), a.updateFeature)
}

func (a *API) listFeatures(ctx context.Context, _ *struct{}) (Features, error) {
	img, err := a.image(ctx)
	if err != nil {
		return Features{}, err
	}
	out := Features{AsOf: a.cfg.Now().UTC()}
	brokers, err := session.List(ctx, a.cfg.Metadata)
	for _, f := range core.Features(metalog.LatestLevel) {
		feature := Feature{Name: f.Name, Level: f.Level(img), Min: f.Min, Max: f.Max, Brokers: []FeatureSupport{}}
		for _, b := range brokers {
			can := f.Supports(b)
			feature.Brokers = append(feature.Brokers, FeatureSupport{Broker: b.Node, Min: can.Min, Max: can.Max})
		}
		out.Features = append(out.Features, feature)
	}
	return out, err
}

func (a *API) updateFeature(ctx context.Context, in *featureInput) (Changed, error) {
	features := core.Features(metalog.LatestLevel)
	if _, known := core.Supported(features)[in.Feature]; !known {
		return Changed{}, problem(http.StatusNotFound, fmt.Sprintf("there is no feature %q", in.Feature))
	}
	update := core.FeatureUpdate{Name: in.Feature, Level: in.Body.Level, Type: upgradeTypes[in.Body.Type]}
	change := core.UpdateFeatures(features, func() ([]session.Seen, error) { return session.List(ctx, a.cfg.Metadata) }, []core.FeatureUpdate{update})
	done, _, err := a.apply(ctx, in.ChangeInput, update, change)
	return done, err
}
