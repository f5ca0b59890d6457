package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/metalog"
)

// ListConfigResources (key 74), versions 0 to 1, of topics and brokers.
//
// Version 0 lists client metrics, of which there are none. Deviation: groups with
// configs are not listed; asked for alone they get UNSUPPORTED_VERSION, as other
// types that a broker does not know do in Kafka.

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
		types = []int8{int8(kmsg.ConfigResourceTypeTopic), int8(kmsg.ConfigResourceTypeBroker)}
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
	case kmsg.ConfigResourceTypeClientMetrics:
	default:
		return nil, fmt.Errorf("list resources of type %d: %w", typ, kerr.UnsupportedVersion)
	}
	return names, nil
}
