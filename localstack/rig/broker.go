package rig

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Broker is one broker of a Cluster, through all its starts.
type Broker struct {
	Place
	env    []string
	launch Launch

	mu     sync.Mutex
	node   *Node // the last one started
	output []string
}

// Launch starts the broker without waiting until it is ready.
func (b *Broker) Launch(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.node != nil && b.node.Running() {
		return fmt.Errorf("start %s: it runs", b.Name)
	}
	if b.node != nil {
		b.output = append(b.output, b.node.Output())
	}
	node, err := b.launch(ctx, b.Place, b.env)
	if err != nil {
		return fmt.Errorf("start %s: %w", b.Name, err)
	}
	b.node = node
	return nil
}

// AwaitReady waits until the broker says that it serves clients.
func (b *Broker) AwaitReady(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	node := b.Node()
	if node == nil {
		return fmt.Errorf("await %s: it was never started", b.Name)
	}
	return node.AwaitReady(wait)
}

// Start starts the broker and waits until it is ready.
func (b *Broker) Start(ctx context.Context) error {
	if err := b.Launch(ctx); err != nil {
		return err
	}
	return b.AwaitReady(ctx)
}

// Node returns the process that was started last, nil before the first.
func (b *Broker) Node() *Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.node
}

// Running reports whether the process has not ended; a paused one has not.
func (b *Broker) Running() bool {
	node := b.Node()
	return node != nil && node.Running()
}

// Kill ends the process with SIGKILL. It is no error if there is none.
func (b *Broker) Kill() error {
	if node := b.Node(); node != nil {
		return node.Kill()
	}
	return nil
}

// Stop ends the process with SIGTERM and returns how long it took. It is killed when limit has passed.
func (b *Broker) Stop(limit time.Duration) (time.Duration, error) {
	if node := b.Node(); node != nil {
		return node.Stop(limit)
	}
	return 0, nil
}

// Pause stops the process where it is, until Resume.
func (b *Broker) Pause() error {
	if node := b.Node(); node != nil {
		return node.Pause()
	}
	return nil
}

// Resume lets a paused process go on.
func (b *Broker) Resume() error {
	if node := b.Node(); node != nil {
		return node.Resume()
	}
	return nil
}

// Wipe deletes the data directory; the broker must have ended.
func (b *Broker) Wipe() error {
	if b.Running() {
		return fmt.Errorf("wipe %s: it runs", b.Name)
	}
	if err := os.RemoveAll(b.Dir); err != nil {
		return fmt.Errorf("wipe %s: %w", b.Name, err)
	}
	return nil
}

// Output returns what the processes wrote, of each its last logLimit bytes.
func (b *Broker) Output() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.output
	if b.node != nil {
		all = append(all[:len(all):len(all)], b.node.Output())
	}
	return strings.Join(all, "\n--- started again\n")
}
