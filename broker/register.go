package broker

import (
	"context"
	"fmt"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// openMetadata opens the metadata log and registers this broker in it. A broker
// that was registered before takes the leadership of its partitions anew, which
// raises their epochs, so that what its last run left behind is told apart.
//
// Commit point: the slot with both records. After a crash before it nothing has
// changed; after one behind it the next start does the same again.
func (b *Broker) openMetadata(ctx context.Context) error {
	var err error
	b.meta, err = metalog.Open(ctx, metalog.Options{Store: b.cfg.Metadata, Objects: b.cfg.Objects, Logger: b.log})
	if err != nil {
		return fmt.Errorf("open metadata log: %w", err)
	}
	reg := metalog.BrokerRegistered{ID: b.cfg.NodeID, Incarnation: id.NewSession(), Rack: b.cfg.Rack}
	for _, l := range b.listeners {
		reg.Endpoints = append(reg.Endpoints, metalog.Endpoint{Listener: l.Name, Host: l.AdvertisedHost, Port: l.AdvertisedPort})
	}
	_, err = b.meta.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
		records := []metalog.Record{reg}
		if _, known := img.Broker(reg.ID); known {
			records = append(records, metalog.LeadershipTaken{From: reg.ID, To: reg.ID})
		}
		return records, nil
	})
	if err != nil {
		return fmt.Errorf("register in the metadata log: %w", err)
	}
	return nil
}
