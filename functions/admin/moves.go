package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// Leadership is who leads a partition, and who shall.
type Leadership struct {
	Topic     string      `json:"topic"`
	Partition int32       `json:"partition"`
	Leader    id.Broker   `json:"leader" doc:"-1: nobody"`
	Epoch     id.Epoch    `json:"leader_epoch"`
	Replicas  []id.Broker `json:"replicas"`
	Target    id.Broker   `json:"target" doc:"-1: the leader stays"`
}

// Leaders is a page of partitions with their leaders.
type Leaders struct {
	Partitions []Leadership `json:"partitions" doc:"In order of topic and partition"`
	Page
}

type leadersInput struct {
	PageQuery
	Broker int32 `query:"broker" minimum:"-2" default:"-2" doc:"Only what it leads; -1: what nobody leads; -2: all"`
}

func (a *API) registerMoves() {
	const tag = "leaders"
	handle(a, read("list-leaders", "/leaders", tag, "Who leads what"), func(ctx context.Context, in *leadersInput) (Leaders, error) {
		return a.leaders(ctx, in.PageQuery, func(p *metalog.PartitionState) bool { return in.Broker == -2 || p.Leader == id.Broker(in.Broker) })
	})
	handle(a, read("list-moves", "/moves", tag, "Partitions whose leader shall hand over and has not yet"), func(ctx context.Context, in *PageQuery) (Leaders, error) {
		return a.leaders(ctx, *in, func(p *metalog.PartitionState) bool { return p.Target != metalog.NoBroker })
	})
	handle(a, write("reassign", http.MethodPost, "/reassignments", tag, "Gives partitions other replicas, or cancels that"), a.reassign)
	handle(a, write("elect", http.MethodPost, "/elections", tag, "Has preferred replicas lead, or gives leaders to partitions without one"), a.elect)
}

func (a *API) leaders(ctx context.Context, in PageQuery, match func(*metalog.PartitionState) bool) (Leaders, error) {
	img, err := a.image(ctx)
	if err != nil {
		return Leaders{}, err
	}
	matching := []Leadership{}
	for _, t := range img.Topics() {
		for i := range t.Partitions {
			if p := &t.Partitions[i]; match(p) {
				matching = append(matching, Leadership{Topic: t.Name, Partition: int32(i), Leader: p.Leader, Epoch: p.Epoch, Replicas: p.Replicas, Target: p.Target})
			}
		}
	}
	// A zero byte sorts before every character of a name, so that the order is that of the list.
	some, next, err := page(matching, func(l Leadership) string { return l.Topic + "\x00" + padded(l.Partition) }, in)
	return Leaders{Partitions: some, Page: next}, err
}

// PartitionOutcome is what became of one partition of a request.
type PartitionOutcome struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	KafkaError string `json:"kafka_error,omitempty" doc:"Missing: it succeeded"`
	Detail     string `json:"detail,omitempty"`
}

// PartitionsChanged tells what became of each partition.
type PartitionsChanged struct {
	Changed
	Partitions []PartitionOutcome `json:"partitions"`
}

// outcome is what became of a partition.
func outcome(p PartitionName, err error) PartitionOutcome {
	o := PartitionOutcome{Topic: p.Topic, Partition: p.Partition}
	if err != nil {
		o.Detail, o.KafkaError = err.Error(), "UNKNOWN_SERVER_ERROR"
		if k := core.KafkaError(err); k != nil {
			o.KafkaError = k.Message
		}
	}
	return o
}

// settle answers for many partitions, of each of which errs tells the error if there was one. If all of them failed for one
// reason alone, that is the error of the request.
func (a *API) settle(ctx context.Context, done Changed, changes []*core.Change, partitions []PartitionName, errs []error) (PartitionsChanged, error) {
	made, err := a.made(ctx, changes)
	if err != nil {
		return PartitionsChanged{}, err
	}
	all := make([]PartitionOutcome, len(partitions))
	for i, p := range partitions {
		if errs[i] == nil && !made[p] {
			errs[i] = errNotDone
		}
		all[i] = outcome(p, errs[i])
	}
	for _, o := range all {
		if o.KafkaError == "" || o.KafkaError != all[0].KafkaError {
			return PartitionsChanged{done, all}, nil
		}
	}
	return PartitionsChanged{done, all}, errors.Join(errs...)
}

// Reassignment is what is asked for one partition.
type Reassignment struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition" minimum:"0"`
	Replicas  []int32 `json:"replicas,omitempty" doc:"In order of preference; missing: cancel the reassignment in progress"`
}

// Reassignments are those of one request.
type Reassignments struct {
	Partitions        []Reassignment `json:"partitions" minItems:"1" maxItems:"10000"`
	AllowFactorChange bool           `json:"allow_replication_factor_change,omitempty" default:"true"`
}

type reassignInput struct {
	ChangeInput
	Body Reassignments
}

func (a *API) reassign(ctx context.Context, in *reassignInput) (PartitionsChanged, error) {
	all := make([]*core.Reassignment, len(in.Body.Partitions))
	for i, p := range in.Body.Partitions {
		all[i] = &core.Reassignment{Topic: p.Topic, Partition: p.Partition, Replicas: p.Replicas, KeepCount: !in.Body.AllowFactorChange}
	}
	changes := core.Reassign(all)
	done, _, err := a.apply(ctx, in.ChangeInput, in.Body, changes...)
	if err != nil {
		return PartitionsChanged{}, err
	}
	partitions, errs := make([]PartitionName, len(all)), make([]error, len(all))
	for i, r := range all {
		partitions[i], errs[i] = PartitionName{r.Topic, r.Partition}, r.Err
	}
	return a.settle(ctx, done, changes, partitions, errs)
}

// PartitionName names a partition.
type PartitionName struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition" minimum:"0"`
}

// Election is what is asked for.
type Election struct {
	Type       string          `json:"type" enum:"preferred,unclean" doc:"An unclean election loses nothing, since records are in the object store"`
	Partitions []PartitionName `json:"partitions,omitempty" maxItems:"10000" doc:"Missing: all that need one"`
}

type electInput struct {
	ChangeInput
	Body Election
}

func (a *API) elect(ctx context.Context, in *electInput) (PartitionsChanged, error) {
	var all []*core.Election
	for _, p := range in.Body.Partitions {
		all = append(all, &core.Election{Topic: p.Topic, Partition: p.Partition})
	}
	unclean := in.Body.Type == "unclean"
	changes := core.Elect(all, unclean)
	if len(all) == 0 {
		var err error
		if all, changes, err = a.electAll(ctx, in.Key, unclean); err != nil {
			return PartitionsChanged{}, err
		}
	}
	done, _, err := a.apply(ctx, in.ChangeInput, in.Body, changes...)
	if err != nil {
		return PartitionsChanged{}, err
	}
	partitions, errs := make([]PartitionName, len(all)), make([]error, len(all))
	for i, e := range all {
		partitions[i], errs[i] = PartitionName{e.Topic, e.Partition}, e.Err
	}
	return a.settle(ctx, done, changes, partitions, errs)
}

// electAll returns the elections of all partitions that need one, in order of topic and partition, and the changes that hold
// them: those of a request with the same key as they were, and then the others. Of these what fails comes last: it leaves no key, and keys go by position.
func (a *API) electAll(ctx context.Context, key string, unclean bool) ([]*core.Election, []*core.Change, error) {
	img, err := a.image(ctx)
	if err != nil {
		return nil, nil, err
	}
	before, changes, err := a.electedBefore(ctx, img, key, unclean)
	if err != nil {
		return nil, nil, err
	}
	more := electable(img, unclean, before)
	fresh := core.Elect(more, unclean)
	core.Validate(img, a.actor(ctx), fresh...)
	for _, fails := range []bool{false, true} {
		for _, ch := range fresh {
			if fails == (len(ch.Records) == 0) {
				changes = append(changes, ch)
			}
		}
	}
	all := slices.Concat(before, more)
	slices.SortFunc(all, func(a, b *core.Election) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return all, changes, nil
}

// electable lists the partitions that need an election, without the topics of elections that were held before.
func electable(img *metalog.Image, unclean bool, before []*core.Election) (all []*core.Election) {
	for _, t := range img.Topics() {
		if slices.ContainsFunc(before, func(e *core.Election) bool { return e.Topic == t.Name }) {
			continue
		}
		for i := range t.Partitions {
			p := &t.Partitions[i]
			needed := len(p.Replicas) > 0 && p.Leader != p.Replicas[0]
			if unclean {
				needed = p.Leader == metalog.NoBroker
			}
			if needed {
				all = append(all, &core.Election{Topic: t.Name, Partition: int32(i)})
			}
		}
	}
	return all
}

// Drain is what is asked for.
type Drain struct {
	Drain bool `json:"drain" doc:"true: it shall lead nothing; false: it may lead again"`
}

type drainInput struct {
	ChangeInput
	BrokerPath
	Body Drain
}

func (a *API) drain(ctx context.Context, in *drainInput) (Changed, error) {
	done, _, err := a.apply(ctx, in.ChangeInput, []any{in.Broker, in.Body}, core.Drain(id.Broker(in.Broker), in.Body.Drain))
	return done, err
}
