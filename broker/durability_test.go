package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/batch"
)

// Each kind of broker has its class as the default, says where it comes from, and refuses
// the other wherever it is set.
func TestDurability(t *testing.T) {
	for _, tc := range []struct {
		name            string
		node            *node
		serves, refuses string
		source          kmsg.ConfigSource
	}{
		{"a node alone", startNode(t), "local", "object", kmsg.ConfigSourceDefaultConfig},
		{"a broker of a cluster", &node{Broker: newTestCluster(t).start(1).Broker, t: t}, "object", "local", kmsg.ConfigSourceStaticBrokerConfig},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := &node{Broker: tc.node.Broker, t: t}
			n.mustCreate(wantTopic("t", 1, 1), wantTopic("explicit", 1, 1, with(admin.DurabilityConfig, value(tc.serves))))
			configs, err := n.describe(ofTopic, "t", admin.DurabilityConfig)
			require.NoError(t, err)
			require.Equal(t, tc.serves, *configs[admin.DurabilityConfig].Value)
			require.Equal(t, tc.source, configs[admin.DurabilityConfig].Source)

			refused := n.create(7, false, wantTopic("refused", 1, 1, with(admin.DurabilityConfig, value(tc.refuses))))[0]
			require.Equal(t, kerr.InvalidConfig.Code, refused.ErrorCode)
			require.Contains(t, *refused.ErrorMessage, "leave it at "+tc.serves)
			for typ, name := range map[kmsg.ConfigResourceType]string{ofTopic: "t", ofBroker: ""} {
				require.NoError(t, n.change(typ, name, false, operation(set, admin.DurabilityConfig, value(tc.serves))))
				require.Equal(t, kerr.InvalidConfig, n.change(typ, name, false, operation(set, admin.DurabilityConfig, value(tc.refuses))))
				require.NoError(t, n.change(typ, name, false, operation(remove, admin.DurabilityConfig, nil)))
			}
			n.mustProduce("t", 0, batchOfNow(batch.None, 1))

			cfg := n.cfg
			cfg.Defaults.Configs = map[string]string{admin.DurabilityConfig: tc.refuses}
			require.ErrorContains(t, cfg.Validate(), "leave it at "+tc.serves)
		})
	}
}

// A topic that a cluster made is not served with less than it promises.
func TestDurabilityOfACluster(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	object := "object"
	n.tell(metalog.ConfigChanged{Resource: metalog.Resource{Type: metalog.ResourceTopic, Name: "t"}, Set: map[string]*string{admin.DurabilityConfig: &object}})
	require.Equal(t, kerr.InvalidConfig.Code, n.produce(9, -1, put{"t", 0, batchOfNow(batch.None, 1)})[0].ErrorCode)
	require.Zero(t, n.produce(9, 1, put{"t", 0, batchOfNow(batch.None, 1)})[0].ErrorCode)
}
