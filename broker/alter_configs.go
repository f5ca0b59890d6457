package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/metalog"
)

// AlterConfigs (key 33), versions 0 to 2, of topics, brokers and groups: the
// resource has the configs of the request afterwards and no others.
//
// Deviations: as for DescribeConfigs; an unknown broker config is INVALID_CONFIG.

// resourceKey names a resource as a request does.
type resourceKey struct {
	typ  kmsg.ConfigResourceType
	name string
}

// handleAlterConfigs replaces the configs of resources, each of which succeeds or
// fails on its own.
func handleAlterConfigs(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.AlterConfigsRequest](c)
	resp := responseTo[*kmsg.AlterConfigsResponse](req)
	keys := make([]resourceKey, len(req.Resources))
	for i := range req.Resources {
		keys[i] = resourceKey{req.Resources[i].ResourceType, req.Resources[i].ResourceName}
	}
	errs := b.alter(ctx, keys, req.ValidateOnly, func(i int, img *metalog.Image, res configResource) (map[string]*string, error) {
		return replacement(img, res, req.Resources[i].Configs)
	})
	for i, k := range keys {
		r := kmsg.NewAlterConfigsResponseResource()
		r.ResourceType, r.ResourceName, r.ErrorCode, r.ErrorMessage = k.typ, k.name, c.code(errs[i]), message(errs[i])
		resp.Resources = append(resp.Resources, r)
	}
	return resp
}

// alter changes the configs of several resources by what decide returns for each:
// values to set, nil to remove.
func (b *Broker) alter(ctx context.Context, keys []resourceKey, only bool,
	decide func(i int, img *metalog.Image, res configResource) (map[string]*string, error),
) []error {
	counts := make(map[resourceKey]int)
	for _, k := range keys {
		counts[k]++
	}
	outcome := make([]*change, len(keys))
	var changes []*change
	for i, k := range keys {
		if counts[k] > 1 {
			outcome[i] = &change{err: fmt.Errorf("resource %q stands more than once in the request: %w", k.name, kerr.InvalidRequest)}
			continue
		}
		outcome[i] = &change{size: 4 << 10, decide: func(img *metalog.Image) (metalog.Record, error) {
			res, err := resourceOf(img, k.typ, k.name)
			if err != nil {
				return nil, err
			}
			set, err := decide(i, img, res)
			if err == nil {
				err = errors.Join(b.cfg.checkServed(set), consistent(img, res, set))
			}
			return metalog.ConfigChanged{Resource: res.Resource, Set: set}, err
		}}
		changes = append(changes, outcome[i])
	}
	b.apply(ctx, changes, only)
	errs := make([]error, len(keys))
	for i := range keys {
		errs[i] = outcome[i].err
	}
	return errs
}

// consistent checks what a topic's configs come to with the changes of set.
func consistent(img *metalog.Image, res configResource, set map[string]*string) error {
	if res.Type != metalog.ResourceTopic {
		return nil
	}
	own := map[string]string{}
	maps.Copy(own, img.Config(res.Resource))
	for name, value := range set {
		if delete(own, name); value != nil {
			own[name] = *value
		}
	}
	return config.Consistent(own)
}

// replacement sets what is given and removes the rest.
func replacement(img *metalog.Image, res configResource, given []kmsg.AlterConfigsRequestResourceConfig) (map[string]*string, error) {
	set := make(map[string]*string)
	for name := range img.Config(res.Resource) {
		set[name] = nil
	}
	for i := range given {
		if given[i].Value == nil {
			return nil, fmt.Errorf("config %s: null is no value: %w", given[i].Name, kerr.InvalidRequest)
		}
		if set[given[i].Name] != nil {
			return nil, fmt.Errorf("config %s is given twice: %w", given[i].Name, kerr.InvalidRequest)
		}
		d, err := alterable(res, given[i].Name)
		if err == nil {
			err = checkValue(d, *given[i].Value)
		}
		if err != nil {
			return nil, err
		}
		set[d.Name] = given[i].Value
	}
	return set, nil
}

// maxConfigValue is the longest value of a config in bytes.
const maxConfigValue = 32 << 10

// checkValue validates a value that is to be set.
func checkValue(d *config.Definition, value string) error {
	if len(value) > maxConfigValue {
		return fmt.Errorf("%s: value of %d bytes is longer than %d: %w", d.Name, len(value), maxConfigValue, config.ErrInvalid)
	}
	return d.Validate(value)
}

// alterable finds a config that may be changed.
func alterable(res configResource, name string) (*config.Definition, error) {
	d, ok := res.find(name)
	if !ok {
		return nil, fmt.Errorf("%s config %s: %w", res.kind, name, config.ErrUnknown)
	}
	if d.ReadOnly {
		return nil, fmt.Errorf("%s config %s: %w", res.kind, name, config.ErrReadOnly)
	}
	return d, nil
}
