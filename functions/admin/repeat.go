package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// groupChange is a change of a group that a request asks for.
type groupChange struct {
	ChangeInput
	action string
	group  string
	expel  bool
	digest string // tells requests with one key apart; empty without a key
}

// groupChange returns the change that a request asks for; request is what tells it from others with the same key.
func (in ChangeInput) groupChange(action, name string, expel bool, request any) (c groupChange, err error) {
	c = groupChange{ChangeInput: in, action: action, group: name, expel: expel}
	if in.Key != "" {
		c.digest, err = core.Digest(request)
	}
	return c, err
}

// repeats tells what became of a request with the same key, or returns nil if there was none.
func (a *API) repeats(ctx context.Context, img *metalog.Image, c groupChange) (*Changed, error) {
	ch := &core.Change{
		Action: c.action, Resource: metalog.Resource{Type: metalog.ResourceGroup, Name: c.group}, Key: c.Key, Digest: c.digest,
		Decide: func(*metalog.Image) ([]metalog.Record, error) {
			return []metalog.Record{metalog.TargetsSet{}}, nil // as the change has records: whether its key can be remembered
		},
	}
	if core.Validate(img, a.actor(ctx), ch); ch.Repeated == nil {
		return nil, ch.Err
	}
	return &Changed{DryRun: c.DryRun, Repeat: true, Version: ch.Repeated.Slot}, nil
}

// once makes a change of a group, or checks it in a dry run, unless a request with the same key has made it before: also one
// that has made it meanwhile, which may be all that the attempt fails for.
func (a *API) once(ctx context.Context, c groupChange, attempt func(*metalog.Image) (Changed, error)) (Changed, error) {
	img, err := a.image(ctx)
	if err != nil {
		return Changed{}, err
	}
	if before, err := a.repeats(ctx, img, c); before != nil {
		return *before, nil
	} else if err != nil {
		return Changed{}, err
	}
	done, failed := attempt(img)
	if failed == nil || c.Key == "" {
		return done, failed
	}
	if img, err = a.image(ctx); err == nil {
		if before, _ := a.repeats(ctx, img, c); before != nil {
			return *before, nil
		}
	}
	return done, failed
}

// changeGroup makes a change of a group.
func (a *API) changeGroup(ctx context.Context, c groupChange, change func(core.Groups, core.GroupRequest) (*core.Change, error)) (Changed, error) {
	meta, err := a.open(ctx)
	if err != nil {
		return Changed{}, err
	}
	ch, err := change(core.Groups{Log: meta, Offsets: a.cfg.Offsets}, core.GroupRequest{
		Who: a.actor(ctx), Group: c.group, Expel: c.expel, Key: c.Key, Digest: c.digest,
	})
	if err != nil {
		return Changed{}, err
	}
	return Changed{Repeat: ch.Repeated != nil, Version: versionOf(meta.Image(), ch)}, nil
}

// versionOf is the version of the metadata that has changes, img's if nothing was to be changed.
func versionOf(img *metalog.Image, changes ...*core.Change) (version uint64) {
	for _, ch := range changes {
		version = max(version, ch.Version)
		if ch.Repeated != nil {
			version = max(version, ch.Repeated.Slot)
		}
	}
	if version == 0 {
		return img.Version()
	}
	return version
}

// recorded returns the records of the change that was made before with a key. It fails if they are not kept any more.
func (a *API) recorded(ctx context.Context, o metalog.Outcome) ([]metalog.Record, error) {
	slots, err := metalog.History(ctx, a.cfg.Metadata, a.cfg.Objects, o.Slot, 1)
	for _, s := range slots {
		for _, e := range s.Audit() {
			if e.Slot == o.Slot && e.Audited.Key == o.Key {
				return e.Changes, nil
			}
		}
	}
	if err == nil {
		err = problem(http.StatusConflict, "a request with this key was carried out, but what it changed is not kept any more: look, and ask with another key")
	}
	return nil, err
}

// recall gives a change that was made before, with the same key, the records that made it.
func (a *API) recall(ctx context.Context, ch *core.Change) (err error) {
	if ch.Repeated != nil {
		ch.Records, err = a.recorded(ctx, *ch.Repeated)
	}
	return err
}

// errNotDone is of a part of a request that was not done when its key was new, and is not tried again with the key.
var errNotDone = errors.New("the request with this key did not change it: ask without the key to learn why")

// made are the partitions that changes give a leader, or have one handed over, now or when they were made before. What fails
// in a change leaves no trace in its records, and a repeat must not call it done.
func (a *API) made(ctx context.Context, changes []*core.Change) (map[PartitionName]bool, error) {
	all := map[PartitionName]bool{}
	for _, ch := range changes {
		if err := a.recall(ctx, ch); err != nil {
			return nil, err
		}
		for _, p := range elected(ch.Records) {
			all[PartitionName{ch.Resource.Name, p.Index}] = true
		}
	}
	return all, nil
}

// resetBefore is what a repeated reset answers with: what is committed now of the partitions that it names.
func (a *API) resetBefore(ctx context.Context, in *resetInput) ([]ResetPartition, error) {
	entries, err := a.groups.Read(ctx, group.StoredName(in.Group))
	if err != nil {
		return nil, err
	}
	named := func(topic string, partition int32) bool {
		return len(in.Body.Topics) == 0 || slices.ContainsFunc(in.Body.Topics, func(some SomePartitions) bool {
			return some.Topic == topic && (len(some.Partitions) == 0 || slices.Contains(some.Partitions, partition))
		})
	}
	before := []ResetPartition{}
	for _, e := range entries {
		if named(e.TopicName, e.Partition) {
			before = append(before, ResetPartition{Topic: e.TopicName, Partition: e.Partition, Committed: new(e.Offset), New: e.Offset})
		}
	}
	sortReset(before)
	return before, nil
}

// electedBefore are the elections of a request that elects leaders wherever one is needed, and their changes in order, as far
// as it was made before with the same key.
func (a *API) electedBefore(ctx context.Context, img *metalog.Image, key string, unclean bool) (all []*core.Election, changes []*core.Change, err error) {
	for i := 0; ; i++ {
		o, known := img.Idempotent(keyOf(key, i))
		if !known || o.Action != core.ActionElectLeaders {
			return all, changes, nil
		}
		records, err := a.recorded(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		var some []*core.Election
		for _, p := range elected(records) {
			some = append(some, &core.Election{Topic: o.Resource.Name, Partition: p.Index})
		}
		all, changes = append(all, some...), append(changes, core.Elect(some, unclean)...)
	}
}

// elected are the partitions that records give a leader, or have one handed over.
func elected(records []metalog.Record) (ps []id.Partition) {
	for _, r := range records {
		switch r := r.(type) {
		case metalog.LeadersChanged:
			for _, c := range r.Changes {
				ps = append(ps, c.Partition)
			}
		case metalog.TargetsSet:
			for _, t := range r.Targets {
				ps = append(ps, t.Partition)
			}
		}
	}
	slices.SortFunc(ps, id.Partition.Compare)
	return ps
}
