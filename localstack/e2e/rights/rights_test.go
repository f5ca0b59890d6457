//go:build e2e

package rights

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/rights"
	"github.com/forebaylog/forebay/localstack/rig"
)

const prefix = "rights"

var place = rights.Place{Region: "us-east-1", Account: "000000000000", Bucket: rig.MinIOBucket, Prefix: prefix, Tables: prefix}

// neverAsked are rights that this scenario has no use for, with the reason why a job needs them.
var neverAsked = []string{
	"s3:AbortMultipartUpload", // of an upload of several parts that fails in the middle, as the fault suite has them
	// Each of 1,000 changes of the metadata has whoever makes it store a snapshot, name it, truncate the log and remove
	// old snapshots.
	"dynamodb:DeleteItem", "collector: Tables dynamodb:PutItem", "arn:aws:s3:::forebay/rights/metalog/",
	"List s3:ListBucket",                     // which S3 also asks for before it tells that an object is missing
	"arn:aws:s3:::forebay/rights/cluster-id", // which the first broker of all makes, before the guard begins
	"ReleaseWAL s3:DeleteObject",             // of a stream that was over when the last broker ended: else brokers release it
	"CollectWAL s3:DeleteObject",             // of WAL objects that no slot names, which a broker leaves that dies between the two
}

func exempt(right string) bool {
	for _, n := range neverAsked {
		if strings.Contains(right, n) {
			return true
		}
	}
	return false
}

// step is how long one step of a scenario may take; it tells what hangs from what waits for the processor.
const step = 2 * time.Minute

// world is a cluster of two behind proxies that refuse what the policy of a client's job does not allow.
type world struct {
	*rig.Cluster
	t      *testing.T
	guard  *rig.Guard
	client *kgo.Client
	admin  *kadm.Client
}

// objects is the URL of the objects, by way of a proxy.
func objects(address string) string {
	return "s3://" + rig.MinIOBucket + "/" + prefix + "?region=us-east-1&path-style=true&endpoint=http://" + address
}

func newWorld(t *testing.T, job rights.Job, functions []rights.Job, args ...string) *world {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	binary, err := rig.BuildForebay(ctx, dir)
	require.NoError(t, err)
	minio := rig.MinIOConfig{Binary: os.Getenv("FOREBAY_MINIO")}
	dynalite := rig.DynaliteConfig{Programs: os.Getenv("FOREBAY_NODE")}
	launch := func(ctx context.Context, at rig.Place, env []string) (*rig.Node, error) {
		base := rig.ForebayConfig{Binary: binary, Args: append([]string{"--object-store", objects(at.Store), "--segment-age", "1h"}, args...)}
		return rig.LaunchBrokers(base, rig.MinIOBucket, prefix)(ctx, at, env)
	}
	c, err := rig.StartCluster(ctx, rig.ClusterConfig{Dir: dir, Brokers: 2, Launch: launch, Store: minio.Backend, Table: dynalite.Backend})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	require.NoError(t, c.KillAll()) // they have made the tables, which no policy allows
	jobs := map[string]rights.Job{}
	for _, b := range c.Brokers() {
		jobs[b.Name] = job
	}
	for _, f := range functions {
		jobs[string(f)] = f
	}
	w := &world{Cluster: c, t: t}
	w.guard, err = c.Guard(place, jobs)
	require.NoError(t, err)
	return w
}

// serve starts the brokers, under the guard's eyes.
func (w *world) serve() {
	require.NoError(w.t, w.StartAll(w.t.Context()))
	var err error
	w.client, err = kgo.NewClient(kgo.SeedBrokers(w.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(w.t, err)
	w.t.Cleanup(w.client.Close)
	w.admin = kadm.NewClient(w.client)
}

// use has records produced, compacted by key and committed in a group, sealed, and read again.
func (w *world) use() {
	ctx, cancel := context.WithTimeout(w.t.Context(), step)
	defer cancel()
	compact, retention := "compact", "600000"
	_, err := w.admin.CreateTopic(ctx, 2, 1, map[string]*string{"cleanup.policy": &compact}, "accounts")
	require.NoError(w.t, err)
	_, err = w.admin.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": &retention}, "aging")
	require.NoError(w.t, err)
	for range 2 {
		var records []*kgo.Record
		for i := range 40 {
			key, old := fmt.Appendf(nil, "%d", i%5), time.Now().Add(-time.Hour)
			for p := range int32(2) {
				records = append(records, &kgo.Record{Topic: "accounts", Partition: p, Key: key, Value: key}, &kgo.Record{Topic: "aging", Partition: p, Value: key, Timestamp: old})
			}
		}
		require.NoError(w.t, w.client.ProduceSync(ctx, records...).FirstErr())
		require.NoError(w.t, rig.Seal(ctx, w.admin, "accounts", "aging"))
	}
	require.NoError(w.t, w.admin.CommitAllOffsets(ctx, "group", offsetsOf("accounts")))
	_, err = w.admin.DeleteGroups(ctx, "group")
	require.NoError(w.t, err)
}

func offsetsOf(topic string) kadm.Offsets {
	o := kadm.Offsets{}
	o.AddOffset(topic, 0, 1, -1)
	return o
}

// takeover kills a broker for good and waits until the other one leads everything, and gives what it takes of the
// dead one's records back.
func (w *world) takeover() {
	require.NoError(w.t, w.Brokers()[0].Kill())
	require.Eventually(w.t, func() bool {
		meta, err := w.admin.Metadata(w.t.Context(), "accounts", "aging")
		if err != nil {
			return false
		}
		for _, topic := range meta.Topics {
			for _, p := range topic.Partitions {
				if p.Err != nil || p.Leader != 2 {
					return false
				}
			}
		}
		return true
	}, step, 100*time.Millisecond)
}

// judge requires that nothing was refused, and that the rights of the jobs were made use of.
func (w *world) judge(jobs ...rights.Job) {
	require.Empty(w.t, w.guard.Denied(), "calls that the policies do not allow")
	var never []string
	for _, job := range jobs {
		unused, err := w.guard.Unused(job)
		require.NoError(w.t, err)
		for _, right := range unused {
			if right = string(job) + ": " + right; !exempt(right) {
				never = append(never, right)
			}
		}
	}
	require.Empty(w.t, never, "rights that nobody makes use of")
}

// answer is what functions answer with.
type answer struct {
	Complete bool `json:"complete"`
	Result   struct {
		Packs struct {
			Removed struct {
				Objects int `json:"objects"`
			} `json:"removed"`
		} `json:"packs"`
	} `json:"result"`
}

// TestBrokersAndFunctions: brokers leave maintenance to functions, each with the rights of its job.
func TestBrokersAndFunctions(t *testing.T) {
	functions := []rights.Job{rights.Retention, rights.Compaction, rights.Collector, rights.Sweep}
	w := newWorld(t, rights.Broker, functions, "--maintenance", "none", "--collect-interval", "-1s")
	w.serve()
	w.use()
	w.takeover()
	for _, job := range functions {
		if job == rights.Sweep { // which has something to do once nobody is left
			require.NoError(t, w.KillAll())
		}
		store, err := w.Store.Listen(string(job))
		require.NoError(t, err)
		table, err := w.Table.Listen(string(job))
		require.NoError(t, err)
		bootstrap, err := rig.BuildFunction(t.Context(), string(job), t.TempDir())
		require.NoError(t, err)
		f, err := rig.StartLambda(t.Context(), bootstrap, append(w.Env(), "FOREBAY_OBJECT_STORE="+objects(store),
			"FOREBAY_METADATA=dynamodb://"+prefix+"?region=us-east-1&endpoint=http://"+table,
			"FOREBAY_COLLECT_ALONE=true", "FOREBAY_COLLECT_GRACE=1ms")...)
		require.NoError(t, err)
		// The collector removes what two looks have found; this store's times are whole seconds.
		require.Eventually(t, func() bool {
			var a answer
			require.NoError(t, f.Invoke(t.Context(), step, map[string]string{}, &a), f.Output())
			return a.Complete && (job != rights.Collector || a.Result.Packs.Removed.Objects > 0)
		}, step, 1500*time.Millisecond, "%s", job)
		require.NoError(t, f.Close())
	}
	w.judge(append(functions, rights.Broker)...)
}

// TestMissingRightIsFound: brokers that have a policy with too few rights do not start, and the guard, like the
// broker, says which right is missing.
func TestMissingRightIsFound(t *testing.T) {
	w := newWorld(t, rights.Retention, nil)
	require.ErrorContains(t, w.StartAll(t.Context()), "allow dynamodb:DescribeTable")
	require.Equal(t, []string{"retention: dynamodb:DescribeTable on arn:aws:dynamodb:us-east-1:000000000000:table/rights-offsets"}, w.guard.Denied())
	unused, err := w.guard.Unused(rights.Retention)
	require.NoError(t, err)
	require.NotEmpty(t, unused)
}
