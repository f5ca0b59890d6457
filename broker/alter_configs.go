package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
)

// AlterConfigs (key 33), versions 0 to 2, of topics, brokers and groups: the
// resource has the configs of the request afterwards and no others.
//
// Deviations: as for DescribeConfigs; an unknown broker config is INVALID_CONFIG.

// handleAlterConfigs replaces the configs of resources, each of which succeeds or
// fails on its own.
func handleAlterConfigs(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.AlterConfigsRequest](c)
	resp := responseTo[*kmsg.AlterConfigsResponse](req)
	keys := make([]resourceKey, len(req.Resources))
	for i := range req.Resources {
		keys[i] = resourceKey{req.Resources[i].ResourceType, req.Resources[i].ResourceName}
	}
	errs := b.alter(ctx, c, keys, req.ValidateOnly, func(i int, r metalog.Resource) *admin.Change {
		given := make([]admin.ConfigOp, len(req.Resources[i].Configs))
		for j, rc := range req.Resources[i].Configs {
			given[j] = admin.ConfigOp{Name: rc.Name, Value: rc.Value}
		}
		return b.settings().ReplaceConfigs(r, given)
	})
	for i, k := range keys {
		r := kmsg.NewAlterConfigsResponseResource()
		r.ResourceType, r.ResourceName, r.ErrorCode, r.ErrorMessage = k.typ, k.name, c.code(errs[i]), message(errs[i])
		resp.Resources = append(resp.Resources, r)
	}
	return resp
}

// alter changes the configs of several resources by the change that change returns for each.
func (b *Broker) alter(ctx context.Context, c *call, keys []resourceKey, only bool, change func(i int, r metalog.Resource) *admin.Change) []error {
	counts := make(map[resourceKey]int)
	for _, k := range keys {
		counts[k]++
	}
	outcome := make([]*admin.Change, len(keys))
	var changes []*admin.Change
	for i, k := range keys {
		r, err := k.resource()
		if counts[k] > 1 {
			err = fmt.Errorf("resource %q stands more than once in the request: %w", k.name, kerr.InvalidRequest)
		}
		if err != nil {
			outcome[i] = refused(err)
			continue
		}
		outcome[i] = change(i, r)
		changes = append(changes, outcome[i])
	}
	b.apply(ctx, c.actor(), changes, only)
	errs := make([]error, len(keys))
	for i := range keys {
		errs[i] = outcome[i].Err
	}
	return errs
}
