package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
)

// TxnOffsetCommit (key 28), versions 0 to 5: with member, generation and instance from 3
// on (KIP-447), and adding the group to the transaction by itself from 5 on (KIP-890). It is answered
// when the offsets are pending durably. No deviations.

func handleTxnOffsetCommit(_ context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.TxnOffsetCommitRequest](c)
	resp := responseTo[*kmsg.TxnOffsetCommitResponse](req)
	plain := plainCommit(req)
	commit := responseTo[*kmsg.OffsetCommitResponse](plain)
	entries := b.offsetEntries(c, plain, commit)
	reply := func(err error) {
		if err != nil {
			failCommit(commit, c.code(txnCommitError(req, err)))
		}
		fillTxnCommit(resp, commit)
		c.reply(resp)
	}
	switch {
	case entries == nil: // not even one topic to commit
		reply(nil)
		return
	case req.Group == "":
		reply(group.ErrInvalidGroupID)
		return
	}
	accepted := entries[:0:0]
	for _, e := range entries {
		if !b.groups.tooLong(e.Metadata) {
			accepted = append(accepted, e)
		}
	}
	b.groups.commitTxn(&txnCommit{
		group: req.Group,
		verification: txnVerification{
			TransactionalID: req.TransactionalID, Producer: id.Producer(req.ProducerID), Epoch: req.ProducerEpoch, Add: req.Version >= 5,
		},
		member:  group.Commit{MemberID: req.MemberID, Instance: req.InstanceID, Generation: req.Generation, Transactional: true},
		entries: accepted, done: reply,
	})
}

// txnCommitError is what a producer of that version hears: a group that does not exist has no
// generation, a fenced producer is one of an old epoch, the oldest ones do not know that
// coordinators load, and only new ones that they may abort (KIP-890).
func txnCommitError(req *kmsg.TxnOffsetCommitRequest, err error) error {
	switch ke := translate(err); {
	case ke == kerr.GroupIDNotFound:
		return kerr.IllegalGeneration
	case ke == kerr.ProducerFenced:
		return kerr.InvalidProducerEpoch
	case ke == kerr.CoordinatorLoadInProgress && req.Version < 2:
		return kerr.CoordinatorNotAvailable
	case ke == kerr.TransactionAbortable && req.Version < 4:
		return kerr.InvalidTxnState
	}
	return err
}

// plainCommit is the OffsetCommit request that names the same offsets.
func plainCommit(req *kmsg.TxnOffsetCommitRequest) *kmsg.OffsetCommitRequest {
	plain := kmsg.NewPtrOffsetCommitRequest()
	plain.Version, plain.RetentionTimeMillis = 9, -1
	for _, t := range req.Topics {
		pt := kmsg.NewOffsetCommitRequestTopic()
		pt.Topic = t.Topic
		for _, p := range t.Partitions {
			pp := kmsg.NewOffsetCommitRequestTopicPartition()
			pp.Partition, pp.Offset, pp.LeaderEpoch, pp.Metadata = p.Partition, p.Offset, -1, p.Metadata
			if req.Version >= 2 {
				pp.LeaderEpoch = p.LeaderEpoch
			}
			pt.Partitions = append(pt.Partitions, pp)
		}
		plain.Topics = append(plain.Topics, pt)
	}
	return plain
}

func fillTxnCommit(resp *kmsg.TxnOffsetCommitResponse, commit *kmsg.OffsetCommitResponse) {
	for _, t := range commit.Topics {
		rt := kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, p.ErrorCode
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
}
