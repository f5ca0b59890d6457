package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/forebaylog/forebay/localstack/faultproxy"
)

// Backend is a service that brokers work on: an object store or a table service.
type Backend struct {
	Addr  string   // host:port that it listens on
	Env   []string // what brokers need in their environment to use it, NAME=value
	Close func() error
	// Process is the service's; nil if it has none of its own.
	Process *Process
}

// Place is where one broker runs, the same each time that it is started.
type Place struct {
	ID    int32
	Rack  string
	Name  string // broker-ID, by which the proxies know it
	Dir   string // data directory
	Log   string // file for what it writes; none if empty
	Addr  string // Kafka address
	Admin string // admin address
	HTTP  string // address for events over HTTP; empty without one
	Store string // host:port of its own way to the object store; empty without one
	Table string // host:port of its own way to the table service; empty without one
}

// Launch starts the broker of a place and returns without waiting until it is ready. env
// is added to its environment.
type Launch func(ctx context.Context, at Place, env []string) (*Node, error)

// ClusterConfig says what a cluster is made of.
type ClusterConfig struct {
	Dir     string // of the brokers' directories and the backends', made if absent
	Brokers int
	Launch  Launch
	// Store and Table start what the brokers work on, in a directory of their own; nil if
	// brokers have it embedded. Where both want a variable in the environment, it is the store's.
	Store, Table func(ctx context.Context, dir string) (*Backend, error)
	Seed         uint64 // of the proxies' dice
	// Direct has brokers go to the services without proxies between.
	Direct bool
	// Addrs chooses the addresses of a broker; free ones if nil.
	Addrs func(id int32) (kafka, admin string)
	// Events chooses the address of a broker for events over HTTP; none if nil.
	Events func(id int32) (string, error)
	// Logs has what brokers write kept in files beside their directories, NAME.log.
	Logs bool
}

// Cluster is some brokers, and the services that they work on behind proxies that can fail.
type Cluster struct {
	// Store and Table are the proxies; nil if brokers have the service embedded or go to it
	// directly. Clients of theirs are the brokers, by the names of their places.
	Store, Table *faultproxy.Proxy

	brokers  []*Broker
	env      []string
	backends []*Backend
}

// StartCluster starts the services and the brokers, and waits until all are ready. ctx
// bounds the life of all processes.
func StartCluster(ctx context.Context, cfg ClusterConfig) (_ *Cluster, err error) {
	c := &Cluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	table, err := c.startBackend(ctx, cfg, "table", cfg.Table)
	if err != nil {
		return nil, err
	}
	store, err := c.startBackend(ctx, cfg, "store", cfg.Store) // its variables are the last to be set
	if err != nil {
		return nil, err
	}
	if !cfg.Direct {
		c.Store, c.Table = proxy(store, cfg.Seed), proxy(table, cfg.Seed)
	}
	for i := range cfg.Brokers {
		place, err := c.place(cfg, int32(i+1), store, table)
		if err != nil {
			return nil, err
		}
		c.brokers = append(c.brokers, &Broker{Place: place, env: c.env, launch: cfg.Launch})
	}
	return c, c.StartAll(ctx)
}

// startBackend starts a service in a directory of its own; nil if there is none to start.
func (c *Cluster) startBackend(ctx context.Context, cfg ClusterConfig, name string, start func(context.Context, string) (*Backend, error)) (*Backend, error) {
	if start == nil {
		return nil, nil
	}
	dir := filepath.Join(cfg.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("start the %s of a cluster: %w", name, err)
	}
	b, err := start(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("start the %s of a cluster: %w", name, err)
	}
	c.backends = append(c.backends, b)
	c.env = append(c.env, b.Env...)
	return b, nil
}

func proxy(b *Backend, seed uint64) *faultproxy.Proxy {
	if b == nil {
		return nil
	}
	return faultproxy.New(b.Addr, seed)
}

// place chooses the addresses for a broker.
func (c *Cluster) place(cfg ClusterConfig, id int32, store, table *Backend) (p Place, err error) {
	p = Place{ID: id, Rack: fmt.Sprintf("rack-%d", id), Name: fmt.Sprintf("broker-%d", id)}
	p.Dir = filepath.Join(cfg.Dir, p.Name)
	if cfg.Logs {
		p.Log = p.Dir + ".log"
	}
	if cfg.Addrs != nil {
		p.Addr, p.Admin = cfg.Addrs(id)
	}
	for _, addr := range []*string{&p.Addr, &p.Admin} {
		if *addr != "" {
			continue
		}
		if *addr, err = FreeAddr(); err != nil {
			return p, err
		}
	}
	if cfg.Events != nil {
		if p.HTTP, err = cfg.Events(id); err != nil {
			return p, err
		}
	}
	if p.Store, err = way(store, c.Store, p.Name); err != nil {
		return p, err
	}
	p.Table, err = way(table, c.Table, p.Name)
	return p, err
}

// way is the address at which a broker finds a service.
func way(b *Backend, through *faultproxy.Proxy, name string) (string, error) {
	switch {
	case b == nil:
		return "", nil
	case through == nil:
		return b.Addr, nil
	}
	return through.Listen(name)
}

// Env is what a process needs in its environment to use the services, NAME=value.
func (c *Cluster) Env() []string { return slices.Clone(c.env) }

// Brokers returns the brokers, running or not, in the order of their ids.
func (c *Cluster) Brokers() []*Broker { return c.brokers }

// Addrs returns the Kafka addresses of all brokers.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, 0, len(c.brokers))
	for _, b := range c.brokers {
		addrs = append(addrs, b.Addr)
	}
	return addrs
}

// StartAll starts every broker that does not run, all at once, and waits until they are ready.
func (c *Cluster) StartAll(ctx context.Context) error {
	var started []*Broker
	for _, b := range c.brokers {
		if b.Running() {
			continue
		}
		if err := b.Launch(ctx); err != nil {
			return err
		}
		started = append(started, b)
	}
	for _, b := range started {
		if err := b.AwaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// KillAll kills every broker.
func (c *Cluster) KillAll() error {
	var errs []error
	for _, b := range c.brokers {
		errs = append(errs, b.Kill())
	}
	return errors.Join(errs...)
}

// WipeAll deletes the data directories of all brokers, which must have ended.
func (c *Cluster) WipeAll() error {
	var errs []error
	for _, b := range c.brokers {
		errs = append(errs, b.Wipe())
	}
	return errors.Join(errs...)
}

// AwaitEnd waits until one of the processes has ended that run now, or one of the others that are handed in, and
// returns it; nil if ctx ends before.
func (c *Cluster) AwaitEnd(ctx context.Context, others ...*Process) *Process {
	ctx, cancel := context.WithCancel(ctx)
	first := make(chan *Process)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	for _, p := range append(c.processes(), others...) {
		waiting.Go(func() {
			select {
			case <-p.Done():
			case <-ctx.Done():
				return
			}
			select {
			case first <- p:
			case <-ctx.Done():
			}
		})
	}
	select {
	case p := <-first:
		return p
	case <-ctx.Done():
		return nil
	}
}

// processes are all that were started last, whether they run or not.
func (c *Cluster) processes() (all []*Process) {
	for _, b := range c.backends {
		if b.Process != nil {
			all = append(all, b.Process)
		}
	}
	for _, b := range c.brokers {
		if node := b.Node(); node != nil {
			all = append(all, node.Process)
		}
	}
	return all
}

// Stop ends everything as a person would: with SIGTERM the brokers, one after the other, so
// that each leaves its partitions to those that are left, and then the services. What still
// runs after limit is killed, which is an error.
func (c *Cluster) Stop(limit time.Duration) error {
	var errs []error
	for _, b := range c.brokers {
		_, err := b.Stop(limit)
		errs = append(errs, err)
	}
	for _, b := range c.backends {
		if b.Process != nil {
			_, err := b.Process.Stop(limit)
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, c.Close())...)
}

// Close kills the brokers and ends the services. Data directories stay.
func (c *Cluster) Close() error {
	errs := []error{c.KillAll()}
	for _, p := range []*faultproxy.Proxy{c.Store, c.Table} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	for _, b := range c.backends {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}
