package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/rig"
)

// What everything is called.
const (
	accessKey   = "forebay"
	secretKey   = "forebay-on-a-laptop"
	tablePrefix = "forebay"
)

// stopLimit is how long each process may take to end.
const stopLimit = 30 * time.Second

// stack is the running cluster with its services.
type stack struct {
	cfg     config
	minio   *rig.MinIO
	table   *rig.Dynalite
	cluster *rig.Cluster
	api     *rig.Lambda
	url     *rig.FunctionURL
	life    context.Context // of all processes
	kill    context.CancelFunc
}

// startStack starts everything and waits until it is ready. ctx bounds the start; what runs
// then ends when it is stopped, in order.
func startStack(ctx context.Context, cfg config) (*stack, error) {
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, kill)()
	s := &stack{cfg: cfg, life: life, kill: kill}
	cluster := rig.ClusterConfig{
		Dir: cfg.dir, Brokers: cfg.brokers, Direct: true, Logs: true, Store: s.startMinIO, Table: s.startTable,
		Events: s.eventsAddr,
		Launch: rig.LaunchBrokers(rig.ForebayConfig{
			Binary: cfg.forebay, Attachment: rig.Attachment{Apart: true},
		}, rig.MinIOBucket, tablePrefix),
	}
	if !cfg.freePorts {
		cluster.Addrs = func(id int32) (kafka, admin string) {
			return loopback(cfg.kafkaPort + int(id) - 1), loopback(cfg.adminPort + int(id) - 1)
		}
	}
	var err error
	if s.cluster, err = rig.StartCluster(life, cluster); err != nil {
		kill()
		return nil, err
	}
	if err := s.startAPI(); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// stop ends everything, the admin API first and then the brokers.
func (s *stack) stop() error {
	defer s.kill()
	return errors.Join(s.stopAPI(), s.cluster.Stop(stopLimit))
}

func (s *stack) startMinIO(ctx context.Context, dir string) (_ *rig.Backend, err error) {
	cfg := rig.MinIOConfig{
		Binary: s.cfg.minio, Dir: dir, AccessKey: accessKey, SecretKey: secretKey,
		Attachment: rig.Attachment{Apart: true, Log: dir + ".log"},
	}
	if !s.cfg.freePorts {
		cfg.Addr, cfg.Console = loopback(s.cfg.storePort), loopback(s.cfg.storePort+1)
	} else if cfg.Console, err = rig.FreeAddr(); err != nil {
		return nil, err
	}
	if s.minio, err = cfg.Start(ctx); err != nil {
		return nil, err
	}
	return s.minio.Backend(), nil
}

func (s *stack) startTable(ctx context.Context, dir string) (_ *rig.Backend, err error) {
	cfg := rig.DynaliteConfig{Programs: s.cfg.node, Dir: dir, Attachment: rig.Attachment{Apart: true, Log: dir + ".log"}}
	if !s.cfg.freePorts {
		cfg.Addr = loopback(s.cfg.tablePort)
	}
	if s.table, err = cfg.Start(ctx); err != nil {
		return nil, err
	}
	return s.table.Backend(), nil
}

// watch returns when ctx ends, which is no error, or when one of the processes does.
func (s *stack) watch(ctx context.Context, out io.Writer) error {
	for {
		p := s.cluster.AwaitEnd(ctx, s.api.Process)
		if p == nil {
			return nil
		}
		b := s.brokerOf(p)
		if b == nil || !s.cfg.restart {
			return fmt.Errorf("%s has ended: %s; the end of its log:\n%s", p.Name(), how(p), lastLines(p.Output(), 20))
		}
		fmt.Fprintf(out, "%s has ended: %s; starting it again in %s\n", b.Name, how(p), restartAfter)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restartAfter):
		}
		err := b.Launch(s.life)
		if err == nil {
			err = b.AwaitReady(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s is ready again, pid %d\n", b.Name, b.Node().PID())
	}
}

// restartAfter is long enough for the others to find a broker dead and take over.
const restartAfter = 5 * time.Second

func (s *stack) brokerOf(p *rig.Process) *rig.Broker {
	for _, b := range s.cluster.Brokers() {
		if node := b.Node(); node != nil && node.Process == p {
			return b
		}
	}
	return nil
}

// how says how an ended process ended.
func how(p *rig.Process) string {
	if err := p.Wait(context.Background()); err != nil {
		return err.Error()
	}
	return "exit status 0"
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
