package rewrite

import (
	"maps"
	"slices"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
)

// MovePolicy says which packs are mostly dead. The zero value of a field selects its default.
type MovePolicy struct {
	// MinLive is the share of a pack below which what lives in it is moved to another: 0.3.
	MinLive float64
	// MinBytes is the size of a pack below which it is left to merging: 1 MiB.
	MinBytes int64
	// MinAge is the age of a pack, by the time of its header, below which it is left alone: a day. Much of
	// what lives in it may die soon, or be merged. It bounds how often something is moved.
	MinAge time.Duration
}

func (p MovePolicy) withDefaults() MovePolicy {
	if p.MinLive <= 0 {
		p.MinLive = 0.3
	}
	if p.MinBytes <= 0 {
		p.MinBytes = 1 << 20
	}
	if p.MinAge <= 0 {
		p.MinAge = 24 * time.Hour
	}
	return p
}

// runOverhead is roughly what a run takes of a pack beside its batches, in bytes. It is
// alive as well: another pack would have it too.
const runOverhead = 512

// Plan returns jobs that move what lives in packs that are mostly dead, given the canonical items of
// all chains. Of packs that are named by chains that it is not told of it may think too little. Once
// the jobs are done, nothing names the packs any more. The jobs are in order of object, then partition.
func (p MovePolicy) Plan(chains map[id.Partition][]chain.Item, now time.Time) []Job {
	p = p.withDefaults()
	type packed struct {
		live, size, sealed int64
		jobs               []Job
	}
	packs := map[string]*packed{}
	for partition, items := range chains {
		for _, item := range items {
			if item.Empty() {
				continue
			}
			in := packs[item.Object]
			if in == nil {
				in = &packed{size: item.ObjectSize}
				packs[item.Object] = in
			}
			in.live += item.Length + runOverhead
			in.sealed = max(in.sealed, item.Sealed)
			in.jobs = append(in.jobs, Job{Partition: partition, Old: []chain.Item{item}})
		}
	}
	var jobs []Job
	for _, object := range slices.Sorted(maps.Keys(packs)) {
		in := packs[object]
		if in.size < p.MinBytes || float64(in.live) >= p.MinLive*float64(in.size) || now.UnixMilli()-in.sealed < p.MinAge.Milliseconds() {
			continue
		}
		slices.SortFunc(in.jobs, func(a, b Job) int { return a.Partition.Compare(b.Partition) })
		jobs = append(jobs, in.jobs...)
	}
	return jobs
}
