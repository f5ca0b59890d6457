package broker

import (
	"context"
	"fmt"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/wal"
)

// openMetadata opens the metadata log and registers this broker in it. A broker
// that was registered before takes the leadership of its partitions anew, which
// raises their epochs, so that what its last run left behind is told apart.
//
// In a cluster it takes its session before, and fences the stream of its last run, so that
// nothing of that run is committed any more and all that was is known.
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
	if b.cfg.Cluster != nil {
		if err := b.checkIdentity(ctx); err != nil {
			return err
		}
		if b.cluster, err = openCluster(ctx, b); err != nil {
			return err
		}
		reg.Incarnation = b.cluster.session.ID()
		if err := b.meta.Refresh(ctx); err != nil {
			return err
		}
	}
	tail, err := b.fenceLastRun(ctx)
	if err != nil {
		return err
	}
	_, err = b.meta.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
		records := []metalog.Record{reg}
		if _, known := img.Broker(reg.ID); known {
			records = append(records, metalog.LeadershipTaken{From: reg.ID, To: reg.ID, Tail: tail})
		}
		if old := streamsOf(img, reg.ID); b.cluster == nil && len(old) > 0 {
			records = append(records, metalog.StreamsReleased{Sessions: old}) // a node alone writes none
		}
		return records, nil
	})
	if err != nil {
		return fmt.Errorf("register in the metadata log: %w", err)
	}
	return nil
}

// fenceLastRun ends the stream of this broker's last run and returns what its partitions
// may have there, nil if it had none. No other broker registers under the same id: the
// session sees to that.
func (b *Broker) fenceLastRun(ctx context.Context) (*metalog.Tail, error) {
	last, known := b.meta.Image().Broker(b.cfg.NodeID)
	if b.cluster == nil || !known {
		return nil, nil
	}
	if _, ok := b.meta.Image().Stream(last.Incarnation); !ok {
		return nil, nil
	}
	through, err := wal.Fence(ctx, wal.Slots(b.cfg.Metadata, last.Incarnation), b.cfg.NodeID)
	if err != nil {
		return nil, fmt.Errorf("end the last run of this broker: %w", err)
	}
	return &metalog.Tail{Session: last.Incarnation, Through: through}, nil
}

// streamsOf lists the streams of a broker's runs so far.
func streamsOf(img *metalog.Image, node id.Broker) []id.Session {
	var sessions []id.Session
	for _, s := range img.Streams() {
		if s.Node == node {
			sessions = append(sessions, s.Session)
		}
	}
	return sessions
}
