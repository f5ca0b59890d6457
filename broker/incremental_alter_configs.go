package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/config"
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
	errs := b.alter(ctx, keys, req.ValidateOnly, func(i int, img *metalog.Image, res configResource) (map[string]*string, error) {
		return increment(res, b.layers(img, res), req.Resources[i].Configs)
	})
	for i, k := range keys {
		r := kmsg.NewIncrementalAlterConfigsResponseResource()
		r.ResourceType, r.ResourceName, r.ErrorCode, r.ErrorMessage = k.typ, k.name, c.code(errs[i]), message(errs[i])
		resp.Resources = append(resp.Resources, r)
	}
	return resp
}

// increment is what the operations of a request come to.
func increment(res configResource, layers config.Layers, ops []kmsg.IncrementalAlterConfigsRequestResourceConfig) (map[string]*string, error) {
	set := make(map[string]*string, len(ops))
	for i := range ops {
		op := &ops[i]
		if _, twice := set[op.Name]; twice {
			return nil, fmt.Errorf("config %s is given twice: %w", op.Name, kerr.InvalidRequest)
		}
		value, err := operate(res, layers, op)
		if err != nil {
			return nil, err
		}
		set[op.Name] = value
	}
	return set, nil
}

// operate is the value after one operation, nil if it is removed.
func operate(res configResource, layers config.Layers, op *kmsg.IncrementalAlterConfigsRequestResourceConfig) (*string, error) {
	if op.Op == kmsg.IncrementalAlterConfigOpDelete {
		_, known := res.find(op.Name)
		if _, set := layers.Resource[op.Name]; !known && !set {
			return nil, fmt.Errorf("%s config %s: %w", res.kind, op.Name, config.ErrUnknown)
		}
		return nil, nil //nolint:nilnil // the record's own way to say that a value is removed
	}
	d, err := alterable(res, op.Name)
	if err != nil {
		return nil, err
	}
	if op.Value == nil {
		return nil, fmt.Errorf("config %s: null is no value: %w", op.Name, kerr.InvalidRequest)
	}
	current := ""
	if values := d.Resolve(layers); len(values) > 0 {
		current = values[0].Value
	}
	value := *op.Value
	switch op.Op {
	case kmsg.IncrementalAlterConfigOpSet:
	case kmsg.IncrementalAlterConfigOpAppend:
		value, err = d.Append(current, value)
	case kmsg.IncrementalAlterConfigOpSubtract:
		value, err = d.Subtract(current, value)
	default:
		err = fmt.Errorf("config %s: operation %d is unknown: %w", op.Name, op.Op, kerr.InvalidRequest)
	}
	if err == nil {
		err = checkValue(d, value)
	}
	return &value, err
}
