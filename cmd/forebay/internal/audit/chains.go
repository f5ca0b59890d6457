package audit

import (
	"context"
	"errors"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/offsets"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
)

// chains checks every chain, and every byte of every pack that one names.
func (a *auditor) chains(ctx context.Context) error {
	store := a.dir.Tables[a.dir.Control].Store
	if store == nil {
		return nil // reported
	}
	objects := watched{a.dir.Objects, a.stage}
	start := func(p id.Partition) (id.Offset, bool) {
		if a.image == nil {
			return 0, false
		}
		state, ok := a.image.Partition(p)
		return state.Start, ok
	}
	sum, err := chain.VerifyFrom(ctx, store, objects, start, func(f chain.Finding) { a.chainFinding(f) })
	a.sum.Links, a.sum.Packs, a.sum.Sealed, a.sum.PackBytes = sum.Segments, sum.Objects, sum.Records, sum.Bytes
	if err != nil {
		return a.damagedIn(ctx, "chain", a.dir.Control, err)
	}
	return a.chainEnds(ctx)
}

// watched tells the stage of the work by the objects that are looked at.
type watched struct {
	objstore.Store
	stage func(string)
}

// Stat implements objstore.Store.
func (w watched) Stat(ctx context.Context, key string) (objstore.Info, error) {
	w.stage("pack " + key)
	return w.Store.Stat(ctx, key)
}

func (a *auditor) chainFinding(f chain.Finding) {
	found := Finding{Severity: Damage, Check: "chain", File: a.dir.Control, What: string(f.Kind)}
	if f.Object != "" {
		found.Check, found.File = "pack", a.objectFile(f.Object)
	}
	switch {
	case f.Kind == chain.OrphanFound:
		found.Severity, found.What = Harmless, "orphan: no chain names it, so nothing is read from it"
	case f.Err != nil:
		found.What += ": " + f.Err.Error()
	}
	if corrupt, ok := errorsAs[*pack.CorruptError](f.Err); ok {
		found.Position = &corrupt.Pos
		if !corrupt.Partition.Topic.IsZero() && corrupt.Offset >= 0 {
			f.Partition, f.Offset = corrupt.Partition, corrupt.Offset
		}
	}
	if !f.Partition.Topic.IsZero() {
		found = a.at(found, f.Partition, f.Offset)
		a.broken[f.Partition] = a.broken[f.Partition] || f.Kind == chain.BadItem
	}
	a.find(found)
}

// chainEnds notes where the chains end. One that cannot be read was reported.
func (a *auditor) chainEnds(ctx context.Context) error {
	chains := chain.Open(a.dir.Tables[a.dir.Control].Store)
	partitions, err := chains.Partitions(ctx)
	if err != nil {
		return a.damagedIn(ctx, "chain", a.dir.Control, err)
	}
	for _, p := range partitions {
		end, _, _, err := chains.End(ctx, p)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			a.broken[p] = true
		default:
			a.ends[p] = end
		}
	}
	return nil
}

// offsets reads what every group has committed.
func (a *auditor) offsets(ctx context.Context) error {
	store := a.dir.Tables[a.dir.Offsets].Store
	if store == nil {
		return nil // reported
	}
	table := offsets.Open(store, offsets.Sole)
	groups, err := table.Groups(ctx)
	if err != nil {
		return a.damagedIn(ctx, "offsets", a.dir.Offsets, err)
	}
	a.sum.Groups = len(groups)
	var errs []error
	for _, group := range groups {
		if _, err := table.Read(ctx, group); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return a.damagedIn(ctx, "offsets", a.dir.Offsets, err)
	}
	return nil
}
