package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/faultproxy"
	"github.com/forebaylog/forebay/localstack/rig"
)

// brokers is the size of the cluster.
const brokers = 3

// bench is one part under way.
type bench struct {
	config
	part    string
	dir     string
	minio   *rig.MinIO
	tables  *rig.Dynalite
	tally   *faultproxy.Proxy // before the tables; it does nothing but count
	cluster *rig.Cluster
	figures []figure
}

// start starts the servers and three brokers.
func start(ctx context.Context, cfg config, dir string, p part) (_ *bench, err error) {
	b := &bench{config: cfg, part: p.name, dir: filepath.Join(dir, p.name)}
	defer func() {
		if err != nil {
			err = b.close(err)
		}
	}()
	if err := os.MkdirAll(filepath.Join(b.dir, "store"), 0o755); err != nil {
		return nil, fmt.Errorf("make a directory for the store: %w", err)
	}
	if b.minio, err = rig.StartMinIO(ctx, os.Getenv("FOREBAY_MINIO"), filepath.Join(b.dir, "store")); err != nil {
		return nil, err
	}
	if b.tables, err = rig.StartDynalite(ctx, os.Getenv("FOREBAY_NODE")); err != nil {
		return nil, err
	}
	b.tally = faultproxy.New(strings.TrimPrefix(b.tables.Endpoint, "http://"), 0)
	endpoint := b.tables.Endpoint
	if p.tally {
		addr, err := b.tally.Listen("brokers")
		if err != nil {
			return nil, err
		}
		endpoint = "http://" + addr
	}
	b.cluster, err = rig.StartCluster(ctx, rig.ClusterConfig{
		Dir: b.dir, Brokers: brokers,
		Launch: func(ctx context.Context, at rig.Place, _ []string) (*rig.Node, error) {
			return rig.LaunchForebay(ctx, rig.ForebayConfig{
				Binary: cfg.binary, Dir: at.Dir, Addr: at.Addr, Admin: at.Admin, Env: slices.Concat(rig.DynaliteEnv, b.minio.Env()),
				Command: slices.Concat([]string{
					"broker", "--node-id", strconv.Itoa(int(at.ID)), "--rack", at.Rack, "--data-dir", at.Dir,
					"--object-store", b.minio.URL("bench"), "--wal-put-rate", strconv.FormatFloat(cfg.putRate, 'f', -1, 64),
					"--metadata", "dynamodb://bench?region=us-east-1&create=true&endpoint=" + endpoint,
				}, p.flags),
			})
		},
	})
	return b, err
}

// close ends everything; with a failure it shows what the brokers said.
func (b *bench) close(failed error) error {
	errs := []error{failed}
	if b.cluster != nil {
		if failed != nil {
			for _, n := range b.cluster.Brokers() {
				errs = append(errs, fmt.Errorf("%s said:\n%s", n.Name, n.Output()))
			}
		}
		errs = append(errs, b.cluster.Close())
	}
	if b.tally != nil {
		errs = append(errs, b.tally.Close())
	}
	if b.tables != nil {
		errs = append(errs, b.tables.Kill())
	}
	if b.minio != nil {
		errs = append(errs, b.minio.Kill())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// client returns a client that learns of new leaders fast.
func (b *bench) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(b.cluster.Addrs()...),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.DialTimeout(time.Second),
		kgo.ProducerLinger(0),
	}, opts...)...)
}

// createTopic creates a topic with three replicas and waits until every partition has a leader.
func (b *bench) createTopic(ctx context.Context, name string, partitions int32) error {
	cl, err := b.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, brokers, nil, name); err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return nil
}

// leaders returns the leader of each partition of a topic.
func (b *bench) leaders(ctx context.Context, topic string) (map[int32]int32, error) {
	cl, err := b.client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopics(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("list topic %s: %w", topic, err)
	}
	led := map[int32]int32{}
	for _, p := range topics[topic].Partitions.Sorted() {
		led[p.Partition] = p.Leader
	}
	return led, nil
}

// awaitBalance waits until each broker leads the same number of partitions.
func (b *bench) awaitBalance(ctx context.Context, topic string, each int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		led, err := b.leaders(ctx, topic)
		if err != nil {
			return err
		}
		count := map[int32]int{}
		for _, leader := range led {
			count[leader]++
		}
		if count[1] == each && count[2] == each && count[3] == each {
			return nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("await balanced leaders of %s: %v: %w", topic, count, ctx.Err())
		}
	}
}
