package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
)

// IncrementalAlterConfigs (key 44), versions 0 to 1, of topics, brokers and groups.
//
// Deviations: as for AlterConfigs.

// handleIncrementalAlterConfigs changes configs of resources, each of which succeeds
// or fails on its own.
func handleIncrementalAlterConfigs(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.IncrementalAlterConfigsRequest](c)
	resp := responseTo[*kmsg.IncrementalAlterConfigsResponse](req)
	keys := make([]resourceKey, len(req.Resources))
	for i := range req.Resources {
		keys[i] = resourceKey{req.Resources[i].ResourceType, req.Resources[i].ResourceName}
	}
	errs := b.alter(ctx, c, keys, req.ValidateOnly, func(i int, r metalog.Resource) *admin.Change {
		ops := make([]admin.ConfigOp, len(req.Resources[i].Configs))
		for j, op := range req.Resources[i].Configs {
			ops[j] = admin.ConfigOp{Name: op.Name, Op: admin.Op(op.Op), Value: op.Value}
		}
		return b.settings().AlterConfigs(r, ops)
	})
	for i, k := range keys {
		r := kmsg.NewIncrementalAlterConfigsResponseResource()
		r.ResourceType, r.ResourceName, r.ErrorCode, r.ErrorMessage = k.typ, k.name, c.code(errs[i]), message(errs[i])
		resp.Resources = append(resp.Resources, r)
	}
	return resp
}
