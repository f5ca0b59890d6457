package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/wire"
)

// ApiVersions (key 18), versions 0 to 4.
//
// A version that is not served is answered with a body of version 0 that holds
// UNSUPPORTED_VERSION and the range of this key alone (KIP-511), before the rest of
// the request is looked at. Versions 3 and later validate the client's software
// name and version, and name the features (KIP-584), of which KRaft's metadata version is none: that
// of Forebay's metadata has a name of its own.

// handleAPIVersions answers with the ranges of all APIs that are served.
func handleAPIVersions(_ context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.ApiVersionsRequest](c)
	resp := responseTo[*kmsg.ApiVersionsResponse](req)
	if c.version >= 3 && (!wire.ValidSoftware(req.ClientSoftwareName) || !wire.ValidSoftware(req.ClientSoftwareVersion)) {
		resp.ErrorCode = c.code(kerr.InvalidRequest)
		return resp
	}
	resp.ApiKeys = b.versions
	if c.version >= 3 {
		nameFeatures(resp, b.features(), b.meta.Image())
	}
	return resp
}

// advertised lists the ranges of served APIs as ApiVersions names them.
func advertised(served []api) []kmsg.ApiVersionsResponseApiKey {
	keys := make([]kmsg.ApiVersionsResponseApiKey, 0, len(served))
	for i := range served {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = served[i].key.Int16(), served[i].advertisedMin(), served[i].max
		keys = append(keys, k)
	}
	return keys
}

// refuseAPIVersions is the answer to an ApiVersions request of a version not served.
func refuseAPIVersions(b *Broker) kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	for _, k := range b.versions {
		if kmsg.Key(k.ApiKey) == kmsg.ApiVersions {
			resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{k}
		}
	}
	return resp
}
