package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/forebaylog/forebay/localstack/rig"
)

// target is what a run works on.
type target interface {
	// addrs are the Kafka addresses.
	addrs() []string
	// renew starts everything anew for the second read, without anything that is not
	// promised to last, and returns what it did.
	renew(ctx context.Context) (what string, err error)
	// heal brings back whatever a fault has left paused or ended.
	heal(ctx context.Context) error
	// outputs are what the brokers wrote, by their names.
	outputs() map[string]string
	// close ends it.
	close() error
}

// processes is a target of broker processes.
type processes struct {
	*rig.Cluster
	durable bool         // all that was acknowledged outlives the local disks
	peakRSS atomic.Int64 // of the largest broker, bytes
	quit    context.CancelFunc
	done    chan struct{}
}

// clusterPrefix begins the names of a cluster's tables and objects.
const clusterPrefix = "torture"

// sampling is how often the memory of brokers is looked at.
const sampling = 250 * time.Millisecond

// brokerArgs make brokers roll, seal and drop segments often, rebalance soon, and look often for
// transactions that have timed out.
var brokerArgs = []string{
	"--segment-bytes", "262144", "--segment-age", "3s", "--tail-bytes", "1048576", "--hot-bytes", "1048576",
	"--set", "group.initial.rebalance.delay.ms=100", "--set", "group.min.session.timeout.ms=4000",
	"--set", "transaction.abort.timed.out.transaction.cleanup.interval.ms=500",
}

// startProcesses starts the brokers that the command line asks for.
func startProcesses(ctx context.Context, cfg config, dir string) (*processes, error) {
	base := rig.ForebayConfig{Binary: cfg.binary, Args: append(append([]string{}, brokerArgs...), cfg.args...)}
	cluster := rig.ClusterConfig{Dir: dir, Brokers: 1, Launch: rig.LaunchDev(base), Seed: cfg.seed}
	if cfg.target == targetCluster {
		cluster.Brokers, cluster.Launch = cfg.brokers, rig.LaunchBrokers(base, rig.MinIOBucket, clusterPrefix)
		cluster.Store, cluster.Table = startStore(cfg.minio), startTable(cfg.node)
	}
	if cfg.target == targetKafka {
		java, err := rig.FindJava(cfg.jars)
		if err != nil {
			return nil, err
		}
		cluster.Launch = launchKafka(java)
	}
	c, err := rig.StartCluster(ctx, cluster)
	if err != nil {
		return nil, err
	}
	p := &processes{Cluster: c, durable: cfg.target == targetCluster, done: make(chan struct{})}
	ctx, p.quit = context.WithCancel(ctx)
	go p.measure(ctx)
	return p, nil
}

// launchKafka starts Apache Kafka in the place of a broker, with the settings of brokerArgs that it knows.
func launchKafka(java *rig.Java) rig.Launch {
	return func(ctx context.Context, at rig.Place, _ []string) (*rig.Node, error) {
		return rig.LaunchKafka(ctx, rig.KafkaConfig{Java: java, Dir: at.Dir, Addr: at.Addr, Set: map[string]string{
			"group.initial.rebalance.delay.ms":                            "100",
			"group.min.session.timeout.ms":                                "4000",
			"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
		}})
	}
}

func (p *processes) addrs() []string { return p.Addrs() }

func (p *processes) close() error {
	p.quit()
	<-p.done
	return p.Close()
}

func (p *processes) renew(ctx context.Context) (string, error) {
	what := "restarted"
	err := p.KillAll()
	if err == nil && p.durable {
		what, err = "wiped", p.WipeAll()
	}
	if err == nil {
		err = p.StartAll(ctx)
	}
	return what, err
}

func (p *processes) heal(ctx context.Context) error {
	var errs []error
	for _, b := range p.Brokers() {
		if b.Running() {
			errs = append(errs, b.Resume())
		}
	}
	return errors.Join(append(errs, p.StartAll(ctx))...)
}

func (p *processes) outputs() map[string]string {
	all := map[string]string{}
	for _, b := range p.Brokers() {
		all[b.Name] = b.Output()
	}
	return all
}

// measure looks at the memory of the brokers until ctx ends.
func (p *processes) measure(ctx context.Context) {
	defer close(p.done)
	tick := time.NewTicker(sampling)
	defer tick.Stop()
	for {
		for _, b := range p.Brokers() {
			if node := b.Node(); node != nil && node.Running() {
				u, err := rig.ReadUsage(node.PID()) // it may have ended meanwhile
				if most := max(u.RSS, u.PeakRSS); err == nil && most > p.peakRSS.Load() {
					p.peakRSS.Store(most)
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// makeDir makes the directory of a run.
func makeDir(cfg config, name string) (string, error) {
	if err := os.MkdirAll(cfg.dir, 0o755); err != nil {
		return "", fmt.Errorf("make a directory for %s: %w", name, err)
	}
	dir, err := os.MkdirTemp(cfg.dir, "torture-"+name+"-")
	if err != nil {
		return "", fmt.Errorf("make a directory for %s: %w", name, err)
	}
	return filepath.Abs(dir)
}
