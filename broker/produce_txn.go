package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/pause"
	"github.com/forebaylog/forebay/tiering/batch"
)

// Versions of Produce from which on clients know of transactions (KIP-890).
const (
	abortableVersion = 11 // TRANSACTION_ABORTABLE
	addingVersion    = 12 // partitions join the transaction by being produced to
)

// posAttributes and attrTransactional tell a transactional batch before it is parsed.
const (
	posAttributes     = 22 // its lower byte
	attrTransactional = 1 << 4
)

// admission is what came of asking the coordinator about a transactional batch.
type admission struct {
	guard partition.Guard
	err   error
}

// transactional reports whether the records of a partition belong to a transaction.
func transactional(rp *kmsg.ProduceRequestTopicPartition) bool {
	return len(rp.Records) > posAttributes && rp.Records[posMagic] == batch.Magic && rp.Records[posAttributes]&attrTransactional != 0
}

// admit asks the coordinator of the request's transaction about the partitions that it
// begins on, all at once, and tells for each batch that was asked about what came of it. While
// it waits no further request of the connection is read, which keeps them in order. Of a
// request without transactional batches there is nothing to ask and nothing to tell.
func (p *produce) admit(ctx context.Context) map[*kmsg.ProduceRequestTopicPartition]admission {
	var batches []*kmsg.ProduceRequestTopicPartition
	for i := range p.req.Topics {
		for j := range p.req.Topics[i].Partitions {
			if rp := &p.req.Topics[i].Partitions[j]; transactional(rp) {
				batches = append(batches, rp)
			}
		}
	}
	if len(batches) == 0 {
		return nil
	}
	admissions := make(map[*kmsg.ProduceRequestTopicPartition]admission, len(batches))
	if err := p.oneTransaction(batches); err != nil {
		for i := range p.req.Topics {
			for j := range p.req.Topics[i].Partitions {
				admissions[&p.req.Topics[i].Partitions[j]] = admission{err: err}
			}
		}
		return admissions
	}
	p.askCoordinator(ctx, admissions)
	return admissions
}

// oneTransaction checks that all transactional batches are of the transaction that the request
// names. As in Kafka an error is that of the whole request.
func (p *produce) oneTransaction(batches []*kmsg.ProduceRequestTopicPartition) error {
	if p.req.TransactionID == nil {
		return fmt.Errorf("produce: transactional batches without a transactional id: %w", kerr.TransactionalIDAuthorizationFailed)
	}
	var first batch.View
	for _, rp := range batches {
		v, err := batch.ParseHeader(rp.Records)
		if err != nil {
			continue // told when it is its turn
		}
		if first == nil {
			first = v
		}
		if v.ProducerID() != first.ProducerID() || v.ProducerEpoch() != first.ProducerEpoch() {
			return fmt.Errorf("produce: batches of the producers %d and %d in a transaction: %w", first.ProducerID(), v.ProducerID(), kerr.InvalidProducerIDMapping)
		}
	}
	return nil
}

// unverified is a batch that its log does not take before the coordinator was asked.
type unverified struct {
	partition *kmsg.ProduceRequestTopicPartition
	log       *partition.Log
	batch     batch.View
	guard     partition.Guard
}

// guarded takes the guard of now. It reports whether that is the one of before, or none is
// needed any more: then no marker has come in between.
func (u *unverified) guarded(p *produce) bool {
	guard, needed := u.log.Verify(u.batch, p.c.received, p.adds())
	same := !needed || guard == u.guard
	u.guard = guard
	return same
}

// adds reports whether partitions join the transaction by being produced to.
func (p *produce) adds() bool { return p.req.Version >= addingVersion }

// unverified returns the batches that the coordinator is to be asked about. Those whose logs are not there are refused in
// admissions: the log may come while others are asked about, and would answer INVALID_TXN_STATE, which ends the transaction.
func (p *produce) unverified(admissions map[*kmsg.ProduceRequestTopicPartition]admission) (batches []*unverified) {
	for i := range p.req.Topics {
		t := &p.req.Topics[i]
		topic, unknown := p.topic(t)
		for j := range t.Partitions {
			rp := &t.Partitions[j]
			if !transactional(rp) {
				continue
			}
			var log *partition.Log
			err := unknown
			if err == nil {
				log, err = p.b.storage.logOf(topic, rp.Partition)
			}
			if err != nil {
				admissions[rp] = admission{err: err}
				continue
			}
			v, err := batch.ParseHeader(rp.Records)
			if err != nil {
				continue // told when it is its turn
			}
			if guard, needed := log.Verify(v, p.c.received, p.adds()); needed {
				batches = append(batches, &unverified{partition: rp, log: log, batch: v, guard: guard})
			}
		}
	}
	return batches
}

// How often a partition is to be added to a transaction while the one before it still ends, some
// 100 ms as by Kafka's add.partitions.to.txn.retry.backoff.max.ms: sooner than the client would come back.
const (
	addTries   = 10
	addBackoff = 10 * time.Millisecond
)

// admitTimeout is how long a request may hold up its connection for its transaction's coordinator,
// whatever time the client gives it.
const admitTimeout = 30 * time.Second

// askCoordinator adds an admission for each batch that its log does not take without one. It asks
// again about partitions that got the marker of the transaction before meanwhile, which has
// taken their guards back, and for a while about those that still wait for it.
func (p *produce) askCoordinator(ctx context.Context, admissions map[*kmsg.ProduceRequestTopicPartition]admission) {
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(p.req.TimeoutMillis)*time.Millisecond, admitTimeout))
	defer cancel()
	open := p.unverified(admissions)
	for try := 1; len(open) > 0; try++ {
		errs := p.b.storage.verifyTxn(ctx, p.question(open))
		ending := false // the transaction before, of one of them
		open = slices.DeleteFunc(open, func(u *unverified) bool {
			err := errs[u.log.ID()]
			ends := p.adds() && errors.Is(err, kerr.ConcurrentTransactions) && try < addTries
			same := u.guarded(p)
			switch {
			case ends:
				ending = true
				return false
			case err != nil:
				admissions[u.partition] = admission{err: p.coordinatorError(err)}
			case same:
				admissions[u.partition] = admission{guard: u.guard}
			}
			return err != nil || same
		})
		if ending {
			_ = pause.For(ctx, addBackoff) // the question after it fails if ctx has ended
		}
	}
}

// question is what the coordinator is asked about the batches, which are of one producer.
func (p *produce) question(open []*unverified) txnVerification {
	first := open[0].batch
	q := txnVerification{TransactionalID: *p.req.TransactionID, Producer: first.ProducerID(), Epoch: first.ProducerEpoch(), Add: p.adds()}
	for _, u := range open {
		q.Partitions = append(q.Partitions, u.log.ID())
	}
	return q
}

// coordinatorError makes of a coordinator's error one that producers know how to go on from, as Kafka does.
func (p *produce) coordinatorError(err error) error {
	ke := translate(err)
	var as *kerr.Error
	switch {
	case ke == nil:
		return err
	case ke == kerr.ProducerFenced: // which would be fatal; a fenced producer may still abort
		as = kerr.InvalidProducerEpoch
	case ke == kerr.TransactionAbortable && p.req.Version < abortableVersion:
		as = kerr.InvalidTxnState
	case ke == kerr.ConcurrentTransactions && p.req.Version >= addingVersion:
		return err // frequent while the transaction before ends; the client knows
	case ke == kerr.ConcurrentTransactions, ke == kerr.NetworkException, ke == kerr.RequestTimedOut,
		ke == kerr.CoordinatorLoadInProgress, ke == kerr.CoordinatorNotAvailable, ke == kerr.NotCoordinator:
		as = kerr.NotEnoughReplicas // it is tried again, without a look at the metadata
	default:
		return err
	}
	return errors.Join(fmt.Errorf("verify the transaction: %w", as), err)
}
