package collect_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/collect"
)

const clusterID = "c"

// world is a cluster in memory.
type world struct {
	t       testing.TB
	table   *kv.Mem
	objects *objstore.Mem
	chains  *chain.Store
	records []metalog.Record
	names   int
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, table: kv.NewMem(), objects: objstore.NewMem()}
	w.chains = chain.Open(w.table)
	require.NoError(t, w.objects.Put(t.Context(), "cluster-id", strings.NewReader(clusterID)))
	return w
}

func (w *world) image(context.Context) (*metalog.Image, error) {
	return metalog.NewImage(clusterID, w.records...), nil
}

func (w *world) config() collect.Config {
	return collect.Config{Metadata: w.table, Objects: w.objects, Image: w.image, Rate: -1, Grace: time.Hour}
}

// topic makes a topic of one partition.
func (w *world) topic(name string) id.Partition {
	p := id.Partition{Topic: id.NewTopic()}
	w.records = append(w.records, metalog.TopicCreated{ID: p.Topic, Name: name, ReplicationFactor: 1, Partitions: make([]metalog.Assignment, 1)})
	return p
}

func (w *world) put(name string) string {
	require.NoError(w.t, w.objects.Put(w.t.Context(), name, strings.NewReader(name)))
	return name
}

// segment is of a pack that is stored.
func (w *world) segment(base, next id.Offset) chain.Segment {
	w.names++
	name := w.put(fmt.Sprintf("packs/2026/01/02/1-%013d-abcdefghijklmnop.pack", w.names))
	return chain.Segment{Base: base, Next: next, Object: name, ObjectSize: int64(len(name)), Length: 1, Records: 1}
}

// seal appends a segment and returns the name of its pack.
func (w *world) seal(p id.Partition, base, next id.Offset) string {
	seg := w.segment(base, next)
	require.NoError(w.t, w.chains.Append(w.t.Context(), []chain.Link{{Partition: p, Segment: seg}})[0])
	return seg.Object
}

func (w *world) items(p id.Partition) []chain.Item {
	items, err := w.chains.Items(w.t.Context(), p)
	require.NoError(w.t, err)
	return items
}

// stored returns what is in the store.
func (w *world) stored(prefix string) []string {
	names := []string{}
	for info, err := range w.objects.List(w.t.Context(), prefix, "") {
		require.NoError(w.t, err)
		names = append(names, info.Key)
	}
	return names
}

func (w *world) run(cfg collect.Config) collect.Report {
	report, err := collect.New(cfg).Run(w.t.Context())
	require.NoError(w.t, err)
	return report
}
