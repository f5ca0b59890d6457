package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/metalog"
)

// ListConfigResources (key 74), versions 0 to 1: all topics and brokers, and the
// groups for which something was set.
//
// Version 0 lists client metrics, of which there are none. Deviation: there are no
// broker loggers; asked for they get UNSUPPORTED_VERSION, as types do that Kafka
// does not know.

// handleListConfigResources lists resources that have configs.
func handleListConfigResources(_ context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.ListConfigResourcesRequest](c)
	resp := responseTo[*kmsg.ListConfigResourcesResponse](req)
	resp.ConfigResources = []kmsg.ListConfigResourcesResponseConfigResource{}
	if c.version == 0 {
		return resp
	}
	types := req.ResourceTypes
	if len(types) == 0 {
		types = []int8{int8(kmsg.ConfigResourceTypeTopic), int8(kmsg.ConfigResourceTypeBroker), int8(kmsg.ConfigResourceTypeGroupConfig)}
	}
	listed := make(map[int8]bool)
	for _, typ := range types {
		if listed[typ] {
			continue
		}
		listed[typ] = true
		names, err := resourceNames(b.meta.Image(), kmsg.ConfigResourceType(typ))
		if err != nil {
			resp.ErrorCode, resp.ConfigResources = c.code(err), []kmsg.ListConfigResourcesResponseConfigResource{}
			return resp
		}
		for _, name := range names {
			r := kmsg.NewListConfigResourcesResponseConfigResource()
			r.Name, r.Type = name, typ
			resp.ConfigResources = append(resp.ConfigResources, r)
		}
	}
	return resp
}

// resourceNames lists the resources of one type.
func resourceNames(img *metalog.Image, typ kmsg.ConfigResourceType) ([]string, error) {
	var names []string
	switch typ {
	case kmsg.ConfigResourceTypeTopic:
		for _, t := range img.Topics() {
			names = append(names, t.Name)
		}
	case kmsg.ConfigResourceTypeBroker:
		for _, node := range img.Brokers() {
			names = append(names, node.ID.String())
		}
	case kmsg.ConfigResourceTypeGroupConfig:
		names = img.ConfiguredGroups()
	case kmsg.ConfigResourceTypeClientMetrics:
	default:
		return nil, fmt.Errorf("list resources of type %d: %w", typ, kerr.UnsupportedVersion)
	}
	return names, nil
}
