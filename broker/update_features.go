package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/session"
)

// UpdateFeatures (key 57), versions 0 to 2. All updates are made, or none. Any broker answers, and the levels that
// the others support are those that their sessions tell.

func handleUpdateFeatures(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.UpdateFeaturesRequest](c)
	resp := responseTo[*kmsg.UpdateFeaturesResponse](req)
	if err := b.updateFeatures(ctx, c, req); err != nil {
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
func (b *Broker) updateFeatures(ctx context.Context, c *call, req *kmsg.UpdateFeaturesRequest) error {
	updates := make([]admin.FeatureUpdate, len(req.FeatureUpdates))
	for i, u := range req.FeatureUpdates {
		updates[i] = admin.FeatureUpdate{Name: u.Feature, Level: u.MaxVersionLevel, Type: admin.Upgrade(u.UpgradeType)}
		if req.Version == 0 {
			updates[i].Type = admin.UpgradeOnly
			if u.AllowDowngrade {
				updates[i].Type = admin.SafeDowngrade
			}
		}
	}
	sessions := func() ([]session.Seen, error) { return session.List(ctx, b.cfg.Metadata) }
	ch := admin.UpdateFeatures(b.features(), sessions, updates)
	b.apply(ctx, c.actor(), []*admin.Change{ch}, req.Version >= 1 && req.ValidateOnly)
	return ch.Err
}
