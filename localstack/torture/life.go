package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forebaylog/forebay/localstack/faultproxy"
	"github.com/forebaylog/forebay/localstack/oracle"
	"github.com/forebaylog/forebay/localstack/rig"
	"github.com/forebaylog/forebay/tiering/collect"
)

// notAlive says that a part of the life of data did nothing, so that the run shows nothing of it.
const notAlive oracle.Kind = "not-alive"

// notProved says that forebay verify has found damage when all was over.
const notProved oracle.Kind = "not-proved"

// The collector of the scenario.
const (
	// lifeGrace is shorter than what brokers may take between an upload and the commit that names
	// it (chain.CommitWithin, 30 min), so the collector must be told that it is alone, which it is not.
	// That is right as long as no commit of a run takes so long, which the ordinary ones are far from; one
	// that did would show as a loss.
	lifeGrace    = 20 * time.Second
	lifeInterval = 2 * time.Second
	lifeLimit    = 30 * time.Second // from the end of the fault until something must have been removed
)

// lifeArgs make brokers seal often, so that there is something to be merged, and look often for what
// may go, be compacted or merged. Their own
// collectors look, too, but with the least grace that they take, so they remove nothing.
var lifeArgs = []string{
	"--segment-age", "1s", "--collect-interval", "3s", "--collect-grace", "40m", "--set", "log.retention.check.interval.ms=1000",
	"--set", "log.cleaner.backoff.ms=1000", "--set", "forebay.merge.interval.ms=1000",
}

// outageTime is for how long the table, and then the object store, is away.
const outageTime = 4 * time.Second

// lifeOfData kills brokers as kill9 does, and takes the table and the object store away, while records go by retention,
// compaction and deletion, segments are merged, a topic is deleted and made anew, and a collector removes what is
// left behind. The ordinary load goes on beside.
func lifeOfData(ctx context.Context, e *env) error {
	l, err := startLife(ctx, e.cfg, e.addrs())
	if err != nil {
		return err
	}
	e.life = l
	c := &collecting{binary: e.cfg.binary, cluster: e.processes().Cluster, ended: make(chan struct{})}
	l.found = c
	looking, quit := context.WithCancel(ctx)
	c.quit = quit
	go c.run(looking)
	var work sync.WaitGroup
	defer work.Wait()
	working, stop := context.WithCancel(ctx)
	defer stop()
	work.Go(func() { l.readOn(working) })
	work.Go(func() { l.cutOn(working) })
	work.Go(func() { l.again.run(working) })
	if err := kill9(ctx, e); err != nil {
		return err
	}
	if err := c.outages(ctx, e); err != nil {
		return err
	}
	err = l.settle(ctx, e.cfg.patience)
	awaiting, cancel := context.WithTimeout(ctx, lifeLimit)
	defer cancel()
	merged, alive := c.awaitLife(awaiting)
	if !alive {
		e.found(notAlive, "%s after the fault, %d segments were merged by the brokers that run, and this many objects collected: %d", lifeLimit, merged, c.collected())
	}
	e.rec.struck("segments merged", merged)
	return err
}

// outages takes the table away, and then the object store.
func (c *collecting) outages(ctx context.Context, e *env) error {
	for _, p := range []*faultproxy.Proxy{c.cluster.Table, c.cluster.Store} {
		action := faultproxy.LoseRequest()
		if e.rng.IntN(2) == 0 {
			action = faultproxy.Silence()
		}
		c.outage.Add(1)
		remove := p.Add(faultproxy.Rule{Name: "outage", Action: action})
		err := e.pause(ctx, outageTime)
		remove()
		c.outage.Add(1)
		if err == nil {
			err = e.pause(ctx, outageTime/2)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// end waits until nothing is left of the topics that were deleted, ends the brokers and proves what is there.
func (l *life) end(ctx context.Context, e *env) {
	c := l.found
	if !c.awaitGone(ctx) {
		e.found(oracle.NotGone, "%s after all was read, chains of topics that are gone are left, %d were collected", lifeLimit, c.chains)
	}
	c.quit()
	<-c.ended
	if c.failed != nil {
		e.found(notHealed, "%v", c.failed)
	}
	e.rec.struck("objects collected", c.objects)
	e.rec.struck("items collected", c.items)
	e.rec.struck("chains collected", c.chains)
	if err := c.cluster.KillAll(); err != nil {
		e.found(notHealed, "end the brokers: %v", err)
	}
	verifying, cancel := context.WithTimeout(ctx, e.cfg.patience)
	defer cancel()
	if out, err := c.forebay(verifying, "verify"); err != nil {
		e.found(notProved, "%v: %s", err, out)
	}
}

// collecting runs `forebay collect` again and again. Its counts are for after run.
type collecting struct {
	binary  string
	cluster *rig.Cluster
	quit    func()
	ended   chan struct{} // closed when run has
	until   time.Duration // of the history: when retention was ended
	outage  atomic.Int64  // odd while a service is away

	mu             sync.Mutex
	objects, items int64 // removed
	chains         int64 // removed, of topics that are gone
	gone           bool  // the last look found no chain of a topic that is gone
	failed         error // the first failure
}

func (c *collecting) run(ctx context.Context) {
	defer close(c.ended)
	tick := time.NewTicker(lifeInterval)
	defer tick.Stop()
	for {
		before := c.outage.Load()
		r, err := c.look(ctx)
		c.mu.Lock()
		c.objects += r.Removed().Objects
		c.items += r.Items.Removed
		c.chains += r.Chains.Removed
		c.gone = err == nil && r.Chains.Superfluous == r.Chains.Removed
		if ctx.Err() == nil && c.failed == nil && before%2 == 0 && before == c.outage.Load() {
			c.failed = err
		}
		c.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look looks once.
func (c *collecting) look(ctx context.Context) (r collect.Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, healLimit) // on a machine with other work some have taken longer than lifeLimit
	defer cancel()
	out, err := c.forebay(ctx, "collect", "--alone", "--grace", lifeGrace.String(), "--rate", "-1", "-o", "json")
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	return r, err
}

// forebay runs a command on the cluster's stores and returns what it prints.
func (c *collecting) forebay(ctx context.Context, command string, args ...string) ([]byte, error) {
	at := c.cluster.Brokers()[0].Place // whose ways to the services are there when it is dead, too
	args = append([]string{command, "--object-store", storeURL(at), "--metadata", tableURL(at)}, args...)
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Env = append(os.Environ(), c.cluster.Env()...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return out, fmt.Errorf("%s: %w", command, errors.Join(err, context.Cause(ctx)))
	}
	return out, nil
}

// awaitGone waits until chains of deleted topics were removed and none is left, and reports whether it came to that.
func (c *collecting) awaitGone(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, lifeLimit)
	defer cancel()
	for {
		c.mu.Lock()
		gone := c.gone && c.chains > 0
		c.mu.Unlock()
		if gone {
			return true
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return false
		}
	}
}

// collected is how many objects were removed so far.
func (c *collecting) collected() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.objects
}

// awaitLife waits until objects were removed and segments merged, and reports whether both were before
// ctx ended, and how many segments those brokers have merged that run.
func (c *collecting) awaitLife(ctx context.Context) (merged int64, alive bool) {
	for {
		if n := c.merged(ctx); n > 0 {
			merged = n
		}
		if merged > 0 && c.collected() > 0 {
			return merged, true
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return merged, false
		}
	}
}

// merged is how many segments brokers say that they have merged since they were started; those
// that do not answer count as none.
func (c *collecting) merged(ctx context.Context) (sum int64) {
	for _, b := range c.cluster.Brokers() {
		text, err := b.Node().Metrics(ctx)
		if err == nil {
			sum += mergedOf(text)
		}
	}
	return sum
}

// mergedOf finds the number of merged segments in a broker's metrics, 0 if it is not there.
func mergedOf(metrics string) int64 {
	for line := range strings.Lines(metrics) {
		if number, ok := strings.CutPrefix(line, "forebay_merged_segments_total "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if err == nil {
				return int64(n)
			}
		}
	}
	return 0
}

// storeURL and tableURL name the services of a cluster as one broker finds them.
func storeURL(at rig.Place) string {
	return "minio://" + at.Store + "/" + rig.MinIOBucket + "/" + clusterPrefix
}

func tableURL(at rig.Place) string {
	return "dynamodb://" + clusterPrefix + "?region=us-east-1&endpoint=http://" + at.Table
}
