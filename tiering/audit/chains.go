package audit

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
)

// chains walks every chain, of the partitions that there are and of those that are listed.
func (a *auditor) chains(ctx context.Context) error {
	chains := chain.Open(a.cfg.Control)
	partitions, err := chains.Partitions(ctx)
	if err != nil {
		a.blind = true
		if err := a.damaged(ctx, "chain", err); err != nil {
			return err
		}
	}
	a.report.Chains = len(partitions)
	listed, all := map[id.Partition]bool{}, map[id.Partition]bool{}
	for _, p := range partitions {
		listed[p], all[p] = true, true
	}
	if a.image != nil {
		for _, t := range a.image.Topics() {
			for i := range t.Partitions {
				all[id.Partition{Topic: t.ID, Index: int32(i)}] = true
			}
		}
	}
	a.partitions = slices.SortedFunc(maps.Keys(all), id.Partition.Compare)
	return a.parallel(ctx, len(a.partitions), func(ctx context.Context, i int) error {
		p := a.partitions[i]
		items, damaged, err := chains.Survey(ctx, p)
		if err != nil {
			return err
		}
		a.chain(int32(i), items, damaged)
		if len(items) > 0 && !listed[p] {
			a.find(a.at(Finding{Severity: Damage, Check: "chain", What: "the list of chains does not have it: the collector would take its packs for orphans"}, p, items[0].Base))
		}
		return nil
	})
}

// chain checks the items of one partition and notes what they name.
func (a *auditor) chain(n int32, items []chain.Item, damaged []error) {
	p := a.partitions[n]
	for _, err := range damaged {
		f := a.at(Finding{Severity: Damage, Check: "chain", What: err.Error()}, p, 0)
		f.Offset = nil
		a.find(f)
	}
	start, exists := id.Offset(0), true
	if a.image != nil {
		state, ok := a.image.Partition(p)
		start, exists = state.Start, ok
	} else if len(items) > 0 {
		start = items[0].Base // as good as any that is not known
	}
	if !exists {
		a.note(n, items, gone)
		return
	}
	canonical, old, err := chain.Canonical(items, start)
	if err != nil && len(damaged) == 0 {
		a.find(a.at(Finding{Severity: Damage, Check: "chain", What: err.Error()}, p, items[0].Base))
	}
	a.note(n, canonical, counts)
	a.note(n, old, superseded)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.blind = a.blind || len(damaged) > 0
	if len(items) > 0 {
		a.ends[p] = items[len(items)-1].Next
	}
}

// note counts items and remembers them with the objects that they name.
func (a *auditor) note(n int32, items []chain.Item, state linkState) {
	p := a.partitions[n]
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range items {
		seg := &items[i].Segment
		switch state {
		case counts:
			a.report.Segments++
			a.report.Records += seg.Records
			t := a.topic(p.Topic)
			t.Segments++
			t.Records += seg.Records
			if seg.Empty() {
				a.report.EmptySegments++
			}
		case superseded:
			a.report.SpareSegments++
			a.topic(p.Topic).SpareSegments++
		case gone:
			a.report.GoneSegments++
		}
		if seg.Empty() {
			continue
		}
		o := a.object(seg.Object)
		switch {
		case state == counts:
			o.kind = live
		case o.kind != live:
			o.kind = spare
		}
		o.links = append(o.links, link{partition: n, state: state, base: seg.Base, digest: a.digest(*seg)})
	}
}

// digest stands for what a segment says of its run.
func (a *auditor) digest(s chain.Segment) uint64 {
	s.Sealed, s.Rewritten, s.CleanedTo = 0, false, 0 // which the run does not tell
	return maphash.Comparable(a.seed, s)
}

// differs says how a segment and its object contradict each other, nil if they do not.
func (a *auditor) differs(ctx context.Context, l link, found chain.Segment) error {
	p := a.partitions[l.partition]
	items, _, err := chain.Open(a.cfg.Control).Survey(ctx, p)
	if err != nil {
		return err
	}
	i, ok := slices.BinarySearchFunc(items, l.base, func(it chain.Item, base id.Offset) int { return cmp.Compare(it.Base, base) })
	if !ok || a.digest(items[i].Segment) != l.digest {
		return fmt.Errorf("the item has changed meanwhile")
	}
	return fmt.Errorf("the chain says %+v, the object %+v", items[i].Segment, found)
}
