package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/metalog"
)

// UpdateFeatures (key 57), versions 0 to 2. All updates are made, or none. No deviations.

func handleUpdateFeatures(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.UpdateFeaturesRequest](c)
	resp := responseTo[*kmsg.UpdateFeaturesResponse](req)
	if err := b.updateFeatures(ctx, req); err != nil {
		resp.ErrorCode, resp.ErrorMessage = c.code(err), message(err)
		return resp
	}
	if req.Version < 2 {
		for _, u := range req.FeatureUpdates {
			r := kmsg.NewUpdateFeaturesResponseResult()
			r.Feature = u.Feature
			resp.Results = append(resp.Results, r)
		}
	}
	return resp
}

// updateFeatures makes the updates of a request.
//
// Commit point: the slot that has all of them.
func (b *Broker) updateFeatures(ctx context.Context, req *kmsg.UpdateFeaturesRequest) error {
	var refused error
	decide := func(img *metalog.Image) (records []metalog.Record, err error) {
		refused = nil
		for _, u := range req.FeatureUpdates {
			kind := u.UpgradeType
			if req.Version == 0 {
				kind = upgradeOnly
				if u.AllowDowngrade {
					kind = safeDowngrade
				}
			}
			if refused = checkFeature(img, u.Feature, u.MaxVersionLevel, kind); refused != nil {
				return nil, nil
			}
			records = append(records, metalog.FeatureFinalized{Name: u.Feature, Level: u.MaxVersionLevel})
		}
		return records, nil
	}
	switch {
	case len(req.FeatureUpdates) == 0:
		return fmt.Errorf("update features: none is named: %w", kerr.InvalidRequest)
	case req.Version >= 1 && req.ValidateOnly:
		_, _ = decide(b.meta.Image())
		return refused
	}
	if _, err := b.meta.Update(ctx, decide); err != nil {
		return fmt.Errorf("update features: append to the metadata log: %w", err)
	}
	return refused
}
