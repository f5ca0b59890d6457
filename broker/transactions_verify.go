package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/txn"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// verifyWait is how long is waited before the coordinator is asked again.
const verifyWait = 20 * time.Millisecond

// verifyTxn asks the coordinator of a transaction. It returns an error for each partition that
// must not be written to: what the coordinator said, as a wrapped *kerr.Error. While there
// is no coordinator it is looked for until ctx ends, or this broker closes.
func (b *Broker) verifyTxn(ctx context.Context, v txnVerification) map[id.Partition]error {
	for {
		changed := b.txns.nextImage()
		errs, err := b.askCoordinator(ctx, v)
		if err == nil {
			err = movedOn(errs)
		}
		if err == nil {
			return errs
		}
		if pauseUnless(ctx, verifyWait, changed); ctx.Err() != nil || b.closing() {
			return allFailed(v.Partitions, fmt.Errorf("verify transaction %q: %w", v.TransactionalID, err))
		}
	}
}

// movedOn returns an error for which the coordinator is to be asked again, if there is one.
func movedOn(errs map[id.Partition]error) error {
	for _, err := range errs {
		if errors.Is(err, kerr.NotCoordinator) || errors.Is(err, kerr.CoordinatorLoadInProgress) || errors.Is(err, kerr.CoordinatorNotAvailable) {
			return err
		}
	}
	return nil
}

// askCoordinator asks whoever coordinates the transaction now. It fails if there is no answer.
func (b *Broker) askCoordinator(ctx context.Context, v txnVerification) (map[id.Partition]error, error) {
	img := b.meta.Image()
	shard, ok := shardIn(img, admin.TxnTopic, v.TransactionalID)
	switch {
	case !ok || shard.Leader == metalog.NoBroker:
		return nil, kerr.CoordinatorNotAvailable
	case shard.Leader == b.cfg.NodeID:
		return b.askSelf(ctx, v)
	}
	ask := kmsg.NewAddPartitionsToTxnRequestTransaction()
	ask.TransactionalID, ask.ProducerID, ask.ProducerEpoch, ask.VerifyOnly = v.TransactionalID, int64(v.Producer), v.Epoch, !v.Add
	names := map[string]id.Topic{}
	for topic, indexes := range byTopic(v.Partitions) {
		if t, ok := img.TopicByID(topic); ok {
			names[t.Name] = topic
			at := kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: t.Name, Partitions: indexes}
			tagTopic(&at.UnknownTags, topic)
			ask.Topics = append(ask.Topics, at)
		}
	}
	answer, err := b.peers.adds.send(ctx, shard.Leader, ask)
	if err != nil {
		return nil, err
	}
	errs := allFailed(v.Partitions, kerr.UnknownTopicOrPartition) // unless it answers for the partition
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			at := id.Partition{Topic: names[t.Topic], Index: p.Partition}
			if errs[at] = kerr.ErrorForCode(p.ErrorCode); errs[at] == nil {
				delete(errs, at)
			}
		}
	}
	return errs, nil
}

// askSelf asks the coordinator of this broker.
func (b *Broker) askSelf(ctx context.Context, v txnVerification) (map[id.Partition]error, error) {
	done := make(chan txn.Outcome, 1)
	b.txns.step(v.TransactionalID, v.event(), func(o txn.Outcome) { done <- o })
	select {
	case o := <-done:
		if o.Err != nil {
			return allFailed(v.Partitions, o.Err), nil
		}
		return allFailed(o.Missing, txnError(v.TransactionalID, txn.ErrAbortable)), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// event is the verification as the coordinator knows it.
func (v txnVerification) event() txn.Event {
	if v.Add {
		return txn.Add{Producer: v.Producer, Epoch: v.Epoch, Partitions: v.Partitions, Version: txnVersion2}
	}
	return txn.Verify{Producer: v.Producer, Epoch: v.Epoch, Partitions: v.Partitions}
}
