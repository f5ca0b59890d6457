package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/offsets"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/wal"
)

// The shape of a bucket.
const (
	chainRuns    = 100 // runs of a chain
	topicChains  = 10  // partitions of a topic
	packRuns     = 50  // runs of a pack
	runRecords   = 4
	recordSize   = 1000 // bytes
	orphanEvery  = 100  // of so many packs one is there twice, once in no chain
	replaceEvery = 20   // of so many chains the first two segments of one were merged
	walObjects   = 100  // of one stream, each with a run of packRuns partitions
	groupOffsets = 1000 // of a group
	groupShards  = 50
	commitAtOnce = 10 // groups
	markerText   = "Forebay data directory, layout 1\n"
	groupsTopic  = "__consumer_offsets"
	node         = id.Broker(1)
	walSession   = id.Session("AAAAAAAAAAAAAAAAAAAAAA")
)

// generator makes a bucket.
type generator struct {
	control, offsets kv.Store
	objects          objstore.Store
	chains           *chain.Store
	cluster          string
	partitions       []id.Partition
	value            []byte
}

// generate makes a bucket and its tables in a directory, with about so many runs and offsets.
func generate(ctx context.Context, dir string, runs, committed int) (err error) {
	g := &generator{value: make([]byte, recordSize)}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range g.value {
		g.value[i] = byte(r.Uint32())
	}
	tables := filepath.Join(dir, "tables")
	if err := os.MkdirAll(tables, 0o755); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	if err := os.WriteFile(filepath.Join(tables, "FOREBAY"), []byte(markerText), 0o644); err != nil {
		return fmt.Errorf("mark the tables: %w", err)
	}
	if g.objects, err = objstore.OpenFile(vfs.OS(), filepath.Join(dir, "objects")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.objects.Close()) }()
	if g.control, err = kv.OpenBolt(filepath.Join(tables, "control.db"), kv.BoltOptions{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.control.Close()) }()
	if g.offsets, err = kv.OpenBolt(filepath.Join(tables, "offsets.db"), kv.BoltOptions{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.offsets.Close()) }()
	g.chains = chain.Open(g.control)
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return g.metadata(ctx, max(runs/chainRuns, packRuns)) },
		g.packs, g.replace, g.stream,
		func(ctx context.Context) error { return g.groups(ctx, committed) },
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("generate: %w", err)
		}
	}
	return nil
}

// metadata makes topics with so many partitions.
func (g *generator) metadata(ctx context.Context, chains int) error {
	log, err := metalog.Open(ctx, metalog.Options{Store: g.control, Objects: g.objects})
	if err != nil {
		return err
	}
	g.cluster = log.Image().ClusterID()
	assign := func(n int) []metalog.Assignment {
		list := make([]metalog.Assignment, n)
		for i := range list {
			list[i] = metalog.Assignment{Leader: node, Replicas: []id.Broker{node}}
		}
		return list
	}
	add := func(records ...metalog.Record) error {
		_, err := log.Update(ctx, func(*metalog.Image) ([]metalog.Record, error) { return records, nil })
		return err
	}
	errs := []error{add(
		metalog.BrokerRegistered{ID: node, Incarnation: walSession},
		metalog.TopicCreated{Name: groupsTopic, ID: id.NewTopic(), Partitions: assign(groupShards), ReplicationFactor: 1},
	)}
	for n := 0; len(g.partitions) < chains || len(g.partitions)%packRuns != 0; n++ {
		topic := id.NewTopic()
		errs = append(errs, add(metalog.TopicCreated{Name: fmt.Sprintf("topic-%05d", n), ID: topic, Partitions: assign(topicChains), ReplicationFactor: 1}))
		for i := range int32(topicChains) {
			g.partitions = append(g.partitions, id.Partition{Topic: topic, Index: i})
		}
	}
	return errors.Join(append(errs, log.Snapshot(ctx), log.Close(ctx))...)
}

// store stores a pack with a run of some partitions, of count records from base on.
func (g *generator) store(ctx context.Context, name string, ps []id.Partition, base id.Offset, count int) (*pack.Footer, int64, error) {
	var object bytes.Buffer
	w := pack.NewWriter(&object, pack.Header{Cluster: g.cluster, Node: node, Created: time.UnixMilli(1e12)})
	for _, p := range ps {
		b := batch.New(batch.None).Base(base).Epoch(0)
		for range count {
			b.Add(batch.Record{Timestamp: 1e12, Value: g.value})
		}
		if err := errors.Join(w.BeginRun(p), w.Append(b.Build()), w.EndRun(nil, nil)); err != nil {
			return nil, 0, err
		}
	}
	footer, err := w.Close()
	if err != nil {
		return nil, 0, err
	}
	size := int64(object.Len())
	return footer, size, g.objects.Put(ctx, name, &object)
}

func packName(n int, kind string) string {
	return fmt.Sprintf("%s2001/09/%02d/1-%013d-%s.pack", chain.ObjectPrefix, 1+n%28, 1_000_000_000_000+n, kind)
}

// packs seals the runs of all chains, and leaves some orphans.
func (g *generator) packs(ctx context.Context) error {
	made := 0
	for round := range chainRuns {
		for from := 0; from < len(g.partitions); from += packRuns {
			ps := g.partitions[from:min(from+packRuns, len(g.partitions))]
			base, name := id.Offset(round*runRecords), packName(made, "sealed")
			made++
			footer, size, err := g.store(ctx, name, ps, base, runRecords)
			if err != nil {
				return err
			}
			links := make([]chain.Link, len(ps))
			for i := range footer.Runs {
				links[i] = chain.Link{Partition: footer.Runs[i].Partition, Segment: chain.SegmentOf(&footer.Runs[i], name, size), AtEnd: true}
			}
			if err := errors.Join(g.chains.Append(ctx, links)...); err != nil {
				return err
			}
			if made%orphanEvery == 0 {
				if _, _, err := g.store(ctx, packName(made, "orphan"), ps, base, runRecords); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// replace merges the first two segments of some chains, whose second items are spare then.
func (g *generator) replace(ctx context.Context) error {
	for i := 0; i < len(g.partitions); i += replaceEvery {
		p := g.partitions[i]
		items, err := g.chains.Items(ctx, p)
		if err != nil {
			return err
		}
		name := packName(i, "merged")
		footer, size, err := g.store(ctx, name, []id.Partition{p}, 0, 2*runRecords)
		if err != nil {
			return err
		}
		if err := g.chains.Replace(ctx, p, items[:2], chain.SegmentOf(&footer.Runs[0], name, size)); err != nil {
			return err
		}
	}
	return nil
}

// stream commits WAL objects behind the chains.
func (g *generator) stream(ctx context.Context) error {
	slots := wal.Slots(g.control, walSession)
	for n := range walObjects {
		from := n * packRuns % len(g.partitions)
		ps := g.partitions[from:min(from+packRuns, len(g.partitions))]
		base := id.Offset(chainRuns+n*packRuns/len(g.partitions)) * runRecords
		name := fmt.Sprintf("%s%s/%013d-%016d.pack", wal.ObjectPrefix, walSession, 1_000_000_000_000+n, n)
		_, size, err := g.store(ctx, name, ps, base, runRecords)
		if err != nil {
			return err
		}
		payload, err := json.Marshal(wal.Slot{Version: 1, Objects: []wal.ObjectRef{{Name: name, Size: size}}})
		if err != nil {
			return fmt.Errorf("encode a slot: %w", err)
		}
		if err := slots.AppendOwned(ctx, uint64(n+1), payload); err != nil {
			return err
		}
	}
	return nil
}

// groups commits so many offsets, groupOffsets for each group.
func (g *generator) groups(ctx context.Context, committed int) error {
	table := offsets.Open(g.offsets, offsets.Sole)
	var batches []offsets.Batch
	for n := 0; n < committed; n += groupOffsets {
		b := offsets.Batch{Group: fmt.Sprintf("group-%06d", n/groupOffsets)}
		for i := range min(groupOffsets, committed-n) {
			// More partitions than some topics have: commits outlive them.
			p := g.partitions[i%len(g.partitions)]
			p.Index += int32(i/len(g.partitions)) * topicChains
			b.Entries = append(b.Entries, offsets.Entry{Topic: p.Topic, TopicName: "topic", Partition: p.Index, Offset: 100, LeaderEpoch: -1, CommitTime: time.UnixMilli(1e12)})
		}
		if batches = append(batches, b); len(batches) < commitAtOnce && n+groupOffsets < committed {
			continue
		}
		if err := errors.Join(table.CommitAll(ctx, batches)...); err != nil {
			return err
		}
		for _, b := range batches {
			table.Forget(b.Group, 0)
		}
		batches = batches[:0]
	}
	return nil
}
