package broker

import (
	"context"
	"net"
	"unicode/utf8"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// actor is the client as one who asks for a change.
func (c *call) actor() admin.Actor {
	address := c.remoteAddr().String()
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	return admin.Actor{
		Principal: admin.Anonymous, At: c.conn.b.cfg.Now(),
		Via: metalog.Via{API: c.key.Name(), Client: c.clientID, Address: address},
	}
}

// actor is the broker as one who makes what it needs, such as the topics of the shards.
func (b *Broker) actor() admin.Actor {
	return admin.Actor{Principal: "Broker:" + b.cfg.NodeID.String(), At: b.cfg.Now()}
}

// Metadata is the metadata log, which is closed with the broker.
func (b *Broker) Metadata() *metalog.Log { return b.meta }

// HighWatermark is where what is committed of a partition ends, or false if this broker does not lead it.
func (b *Broker) HighWatermark(p id.Partition) (id.Offset, bool) {
	log, leads := b.storage.logs.Get(p)
	if !leads {
		return 0, false
	}
	return log.Watermarks().High, true
}

// Settings are what changes take where a request leaves the choice.
func (b *Broker) Settings() admin.Settings { return b.settings() }

func (b *Broker) settings() admin.Settings {
	return admin.Settings{
		Partitions: b.cfg.Defaults.NumPartitions, Replicas: b.cfg.Defaults.ReplicationFactor,
		Durability: b.cfg.durability(), Node: b.cfg.NodeID.String(), Static: b.static,
	}
}

// update makes changes that a client asks for.
func (b *Broker) update(ctx context.Context, who admin.Actor, changes []*admin.Change) {
	admin.Apply(ctx, b.meta, who, changes...)
}

// apply makes changes or, if only is set, validates them only.
func (b *Broker) apply(ctx context.Context, who admin.Actor, changes []*admin.Change, only bool) {
	if only {
		admin.Validate(b.meta.Image(), who, changes...)
		return
	}
	b.update(ctx, who, changes)
}

// refused is a change that is not tried, since err is its outcome.
func refused(err error) *admin.Change { return &admin.Change{Err: err} }

// maxMessage is the longest error message of a response, in bytes.
const maxMessage = 1024

// message is the text of err for a response, nil if there is none.
func message(err error) *string {
	if err == nil {
		return nil
	}
	s := err.Error()
	if len(s) > maxMessage {
		cut := maxMessage
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	return &s
}
