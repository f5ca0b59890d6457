package broker

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/metalog"
)

// DescribeConfigs (key 32), versions 1 to 4, of topics, brokers and groups.
//
// Deviation: brokers have no dynamic loggers and there are no client metrics, so
// resources of these types are INVALID_REQUEST.

// handleDescribeConfigs describes the configs of resources.
func handleDescribeConfigs(_ context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.DescribeConfigsRequest](c)
	resp := responseTo[*kmsg.DescribeConfigsResponse](req)
	img := b.meta.Image()
	for i := range req.Resources {
		want := &req.Resources[i]
		r := kmsg.NewDescribeConfigsResponseResource()
		r.ResourceType, r.ResourceName = want.ResourceType, want.ResourceName
		r.Configs = []kmsg.DescribeConfigsResponseResourceConfig{}
		res, err := b.describable(img, want)
		if err == nil {
			r.Configs = b.describeConfigs(img, res, want.ConfigNames, req)
		}
		r.ErrorCode, r.ErrorMessage = c.code(err), message(err)
		resp.Resources = append(resp.Resources, r)
	}
	return resp
}

// describable finds a resource whose configs this broker knows. Of brokers that is
// itself, since others' settings are in their own hands.
func (b *Broker) describable(img *metalog.Image, want *kmsg.DescribeConfigsRequestResource) (admin.ConfigResource, error) {
	res, err := findResource(img, want.ResourceType, want.ResourceName)
	if err == nil && res.Type == metalog.ResourceBroker && res.Name != "" && res.Name != b.self().Name {
		return res, fmt.Errorf("describe broker %s at broker %d: ask it itself: %w", res.Name, b.cfg.NodeID, kerr.InvalidRequest)
	}
	return res, err
}

// describeConfigs describes the named configs of a resource, all if no name is given.
func (b *Broker) describeConfigs(img *metalog.Image, res admin.ConfigResource, names []string, req *kmsg.DescribeConfigsRequest) []kmsg.DescribeConfigsResponseResourceConfig {
	layers := b.layers(img, res.Resource)
	configs := []kmsg.DescribeConfigsResponseResourceConfig{}
	for i := range res.Defs {
		d := &res.Defs[i]
		if len(names) > 0 && !slices.Contains(names, d.Name) {
			continue
		}
		if layers.Source == config.DynamicDefault { // all brokers: only what is set
			if _, ok := layers.Resource[d.Name]; !ok {
				continue
			}
		}
		configs = append(configs, describeConfig(d, layers, req))
	}
	return configs
}

// describeConfig describes one config.
func describeConfig(d *config.Definition, layers config.Layers, req *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	values := d.Resolve(layers)
	rc := kmsg.NewDescribeConfigsResponseResourceConfig()
	rc.Name, rc.ReadOnly, rc.IsSensitive = d.Name, d.ReadOnly, d.Sensitive()
	rc.Source, rc.ConfigType = kmsg.ConfigSource(config.Default), kmsg.ConfigType(d.Type)
	if len(values) > 0 {
		rc.Source = kmsg.ConfigSource(values[0].Source)
		rc.Value = shown(d, values[0].Value)
	}
	if req.IncludeSynonyms {
		for _, v := range values {
			s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			s.Name, s.Value, s.Source = v.Name, shown(d, v.Value), kmsg.ConfigSource(v.Source)
			rc.ConfigSynonyms = append(rc.ConfigSynonyms, s)
		}
	}
	if req.IncludeDocumentation {
		rc.Documentation = &d.Doc
	}
	return rc
}

// shown is the value as clients may see it.
func shown(d *config.Definition, value string) *string {
	if d.Sensitive() {
		return nil
	}
	return &value
}
