package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/wire"
)

// dispatch decodes the frame of k and hands it to its API. What cannot be served is
// answered with UNSUPPORTED_VERSION where responses of that key have room for an
// error, and else closes the connection, as Kafka does.
func (b *Broker) dispatch(ctx context.Context, k *call) {
	frame := k.frame
	k.frame = nil
	h, err := wire.ParsePrefix(frame)
	k.key, k.version, k.correlationID = h.Key, h.Version, h.CorrelationID
	if err != nil {
		k.closeWith(err)
		return
	}
	a := b.byKey[h.Key]
	if a == nil {
		k.closeWith(fmt.Errorf("refuse request with key %d (%s): not served", h.Key, h.Key.Name()))
		return
	}
	if h.Version < a.min || h.Version > a.max {
		b.refuse(k)
		return
	}
	req := h.Key.Request()
	req.SetVersion(h.Version)
	h, body, err := wire.ParseHeader(frame, req.IsFlexible())
	if err != nil {
		k.closeWith(err)
		return
	}
	k.clientID = h.ClientID
	if err := wire.Decode(req, body); err != nil {
		k.closeWith(fmt.Errorf("decode %s version %d: %w", h.Key.Name(), h.Version, err))
		return
	}
	k.body = req
	a.handle(ctx, b, k)
}

// refuse answers a request of a version that is not served.
func (b *Broker) refuse(k *call) {
	if k.key == kmsg.ApiVersions {
		b.metrics.failed(k.key, kerr.UnsupportedVersion)
		k.version = 0
		k.reply(refuseAPIVersions(b))
		return
	}
	req := k.key.Request()
	req.SetVersion(k.version)
	if k.version >= 0 && k.version <= req.MaxVersion() {
		if resp := errorResponse(req, k.code(kerr.UnsupportedVersion)); resp != nil {
			k.reply(resp)
			return
		}
	}
	k.closeWith(fmt.Errorf("refuse %s version %d: not served", k.key.Name(), k.version))
}
