package broker

import (
	"context"
	"errors"
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
	b.meta, err = metalog.Open(ctx, metalog.Options{Store: b.cfg.Metadata, Objects: b.cfg.Objects, MaxLevel: b.cfg.MaxLevel, Logger: b.log})
	if err != nil {
		return fmt.Errorf("open metadata log: %w", err)
	}
	reg := metalog.BrokerRegistered{ID: b.cfg.NodeID, Incarnation: id.NewSession(), Rack: b.cfg.Rack}
	for _, l := range b.listeners {
		reg.Endpoints = append(reg.Endpoints, metalog.Endpoint{Listener: l.Name, Host: l.AdvertisedHost, Port: l.AdvertisedPort})
	}
	if err := b.checkIdentity(ctx); err != nil {
		return err
	}
	if b.cfg.Cluster != nil {
		if b.cluster, err = openCluster(ctx, b); err != nil {
			return err
		}
		reg.Incarnation = b.cluster.session.ID()
		if err := b.meta.Refresh(ctx); err != nil {
			return err
		}
	}
	for {
		err := b.register(ctx, reg)
		if !errors.Is(err, errAnotherRun) {
			return err
		}
	}
}

// errAnotherRun: since the stream of the last run was fenced, another run has registered.
var errAnotherRun = errors.New("another run of this broker has registered")

// register fences the last run and takes its place. It fails with errAnotherRun if that is
// not the last one any more, as after a pause in which the session was lost to a process that
// was started in the place of this one: what that one has acknowledged is in its stream, and is
// lost unless the partitions have it as their tail.
func (b *Broker) register(ctx context.Context, reg metalog.BrokerRegistered) error {
	if !b.valid() {
		return fmt.Errorf("register in the metadata log: %w", ErrSessionLost)
	}
	last, tail, err := b.fenceLastRun(ctx)
	if err != nil {
		return err
	}
	_, err = b.meta.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
		records := []metalog.Record{reg}
		if now := lastRun(img, reg.ID); b.cluster != nil && now != last {
			return nil, fmt.Errorf("%w: session %s", errAnotherRun, now)
		}
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

// lastRun is the session that a broker is registered with, "" if it never was.
func lastRun(img *metalog.Image, node id.Broker) id.Session {
	if b, known := img.Broker(node); known {
		return b.Incarnation
	}
	return ""
}

// fenceLastRun ends the stream of this broker's last run and returns what its partitions
// may have there, nil if it had none.
func (b *Broker) fenceLastRun(ctx context.Context) (last id.Session, tail *metalog.Tail, err error) {
	img := b.meta.Image()
	last = lastRun(img, b.cfg.NodeID)
	if _, open := img.Stream(last); b.cluster == nil || !open {
		return last, nil, nil
	}
	through, err := wal.Fence(ctx, wal.Slots(b.cfg.Metadata, last), b.cfg.NodeID)
	if err != nil {
		return "", nil, fmt.Errorf("end the last run of this broker: %w", err)
	}
	return last, &metalog.Tail{Session: last, Through: through}, nil
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
