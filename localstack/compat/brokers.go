package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/rig"
)

// brokers are those of a run, through all their starts.
type brokers struct {
	cfg    config
	suite  suite.Suite
	nodes  int
	dir    string // of the run
	target *suite.Target

	starts int
}

// start starts brokers in a directory of their own and points the target at them.
func (b *brokers) start(ctx context.Context, settings map[string]string, addrs func(id int32) (kafka, admin string)) error {
	b.starts++
	cc := rig.ClusterConfig{
		Dir: filepath.Join(b.dir, fmt.Sprintf("brokers-%d", b.starts)), Brokers: b.nodes, Launch: b.launch(settings),
		Addrs: addrs, Direct: true, Logs: true,
	}
	if b.cfg.apache {
		var err error
		if cc.Launch, err = b.launchApache(settings); err != nil {
			return err
		}
	} else if b.nodes > 1 {
		cc.Store = rig.MinIOConfig{Binary: b.cfg.minio, Attachment: rig.Attachment{Apart: true}}.Backend
		cc.Table = rig.DynaliteConfig{Programs: b.cfg.node, Attachment: rig.Attachment{Apart: true}}.Backend
	}
	if err := os.MkdirAll(cc.Dir, 0o755); err != nil {
		return fmt.Errorf("make a directory for the brokers: %w", err)
	}
	// The processes outlive the limit of the run, which ends them itself.
	cluster, err := rig.StartCluster(context.WithoutCancel(ctx), cc)
	if err != nil {
		return fmt.Errorf("start %d brokers: %w", b.nodes, err)
	}
	b.target.Cluster, b.target.Brokers = cluster, cluster.Addrs()
	fmt.Fprintln(b.target.Log, "# brokers at", b.target.Brokers, "in", cc.Dir)
	return nil
}

// launch is how the brokers are started.
func (b *brokers) launch(settings map[string]string) rig.Launch {
	var sets []string
	for name, value := range settings {
		sets = append(sets, "--set", name+"="+value)
	}
	return func(ctx context.Context, at rig.Place, env []string) (*rig.Node, error) {
		base := rig.ForebayConfig{Binary: b.cfg.binary, Args: slices.Clone(sets), Attachment: rig.Attachment{Apart: true}}
		if b.suite.Advertised != nil {
			base.Args = append(base.Args, "--listeners", "PLAINTEXT://"+at.Addr,
				"--advertised-listeners", "PLAINTEXT://"+b.suite.Advertised(at.ID))
		}
		if b.nodes == 1 {
			return rig.LaunchDev(base)(ctx, at, env)
		}
		return rig.LaunchBrokers(base, rig.MinIOBucket, "compat")(ctx, at, env)
	}
}

// launchApache starts Apache Kafka in place of Forebay; the first of several brokers is their
// controller too.
func (b *brokers) launchApache(settings map[string]string) (rig.Launch, error) {
	controller, err := rig.FreeAddr()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, at rig.Place, _ []string) (*rig.Node, error) {
		set := map[string]string{
			"node.id": fmt.Sprint(at.ID), "process.roles": "broker", "listeners": "PLAINTEXT://" + at.Addr,
			"controller.quorum.voters": "1@" + controller,
		}
		if at.ID == 1 {
			set["process.roles"], set["listeners"] = "broker,controller", "PLAINTEXT://"+at.Addr+",CONTROLLER://"+controller
		}
		if b.nodes > 1 {
			set["broker.rack"] = at.Rack
		}
		if b.suite.Advertised != nil {
			set["advertised.listeners"] = "PLAINTEXT://" + b.suite.Advertised(at.ID)
		}
		maps.Copy(set, settings)
		return rig.LaunchKafka(ctx, rig.KafkaConfig{Java: b.target.Java, Dir: at.Dir, Addr: at.Addr, Set: set})
	}, nil
}

// restart starts the brokers anew, with nothing of the old ones. nil keeps what is.
func (b *brokers) restart(ctx context.Context, settings map[string]string, addrs func(id int32) (kafka, admin string)) error {
	if settings != nil {
		b.suite.Settings = settings
	}
	if addrs != nil {
		b.suite.Addrs = addrs
	}
	if err := b.stop(); err != nil {
		return err
	}
	return b.start(ctx, b.suite.Settings, b.suite.Addrs)
}

// stop kills the brokers and what they work on.
func (b *brokers) stop() error {
	if b.target.Cluster == nil {
		return nil
	}
	err := b.target.Cluster.Close()
	b.target.Cluster = nil
	return err
}

// end stops all and removes what only the run needed. The brokers' logs stay.
func (b *brokers) end(keep bool) error {
	errs := []error{b.stop()}
	if keep {
		return errors.Join(errs...)
	}
	errs = append(errs, os.RemoveAll(b.target.Dir))
	for i := range b.starts {
		dir := filepath.Join(b.dir, fmt.Sprintf("brokers-%d", i+1))
		entries, err := os.ReadDir(dir)
		errs = append(errs, err)
		for _, e := range entries {
			if e.IsDir() {
				errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
			}
		}
	}
	return errors.Join(errs...)
}
