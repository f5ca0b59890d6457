package broker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/metalog"
)

// resourceKey names a resource as a request does.
type resourceKey struct {
	typ  kmsg.ConfigResourceType
	name string
}

// resource is what the key names, which need not exist. It fails with INVALID_REQUEST.
func (k resourceKey) resource() (metalog.Resource, error) {
	r := metalog.Resource{Name: k.name}
	switch k.typ {
	case kmsg.ConfigResourceTypeTopic:
		r.Type = metalog.ResourceTopic
	case kmsg.ConfigResourceTypeBroker:
		r.Type = metalog.ResourceBroker
	case kmsg.ConfigResourceTypeGroupConfig:
		r.Type = metalog.ResourceGroup
	default:
		return r, fmt.Errorf("configs of resource type %d (%v) are not served: %w", k.typ, k.typ, kerr.InvalidRequest)
	}
	return r, nil
}

// layers are the places where the resource's values may come from.
func (b *Broker) layers(img *metalog.Image, r metalog.Resource) config.Layers {
	return b.settings().Layers(img, r)
}

// topicLayers are the layers of a topic with those configs of its own.
func (b *Broker) topicLayers(img *metalog.Image, own map[string]string) config.Layers {
	return b.settings().TopicLayers(img, own)
}

// findResource is admin.FindResource for a resource as a request names it.
func findResource(img *metalog.Image, typ kmsg.ConfigResourceType, name string) (admin.ConfigResource, error) {
	r, err := resourceKey{typ, name}.resource()
	if err != nil {
		return admin.ConfigResource{}, err
	}
	return admin.FindResource(img, r)
}
