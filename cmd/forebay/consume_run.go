package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type partition struct {
	topic string
	index int32
}

func (p partition) String() string { return fmt.Sprintf("%s-%d", p.topic, p.index) }

// position is how far a partition was consumed, and how far it is to be.
type position struct {
	next  int64
	until int64 // exclusive; math.MaxInt64 for no end
}

func (p position) done() bool { return p.next >= p.until }

// consuming is one run of consume.
type consuming struct {
	flags     consumeFlags
	topics    []string
	start     startAt
	committed bool // read_committed
	client    *kgo.Client
	text      func([]byte, *kgo.Record) []byte
	out       io.Writer
	progress  *progress
	printed   int64

	mu        sync.Mutex
	positions map[partition]position // of the partitions assigned
	assigned  bool                   // positions is complete
	wake      context.CancelFunc     // ends the poll under way
}

// closeGroupTimeout bounds the last commit of a group.
const closeGroupTimeout = 5 * time.Second

func (c *consuming) run(ctx context.Context) (err error) {
	if c.flags.group == "" {
		if err := c.assign(ctx); err != nil {
			return c.flags.client.explain(ctx, err)
		}
	} else {
		defer func() { err = errors.Join(err, c.commit(ctx)) }()
	}
	out := bufio.NewWriterSize(c.out, 256<<10)
	for !c.finished() {
		poll, wake := context.WithCancel(ctx)
		c.setWake(wake)
		fetches := c.client.PollFetches(poll)
		wake()
		if ctx.Err() != nil {
			return c.interrupted(ctx)
		}
		if err := c.check(ctx, fetches); err != nil {
			return err
		}
		if err := c.print(out, fetches); err != nil {
			return err
		}
		c.client.AllowRebalance()
	}
	c.progress.say("%d records", c.printed)
	return nil
}

func (c *consuming) setWake(wake context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wake = wake; c.isFinished() {
		wake()
	}
}

func (c *consuming) finished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isFinished()
}

// bounded reports whether there is an end to stop at.
func (c *consuming) bounded() bool { return c.flags.exit || c.start.until != math.MaxInt64 }

// isFinished reports whether nothing is left to print.
func (c *consuming) isFinished() bool {
	if c.flags.max > 0 && c.printed >= c.flags.max {
		return true
	}
	if !c.bounded() || !c.assigned {
		return false
	}
	for _, p := range c.positions {
		if !p.done() {
			return false
		}
	}
	return true
}

// interrupted says how an interrupt ends the run: well, unless an end was asked for.
func (c *consuming) interrupted(ctx context.Context) error {
	if c.bounded() || c.flags.max > 0 {
		return ctx.Err()
	}
	return nil
}

// check returns the errors that end the run.
func (c *consuming) check(ctx context.Context, fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		var lost *kgo.ErrDataLoss
		switch {
		case errors.Is(e.Err, context.Canceled): // woken
		case errors.As(e.Err, &lost):
			c.progress.say("%v", lost)
		default:
			return c.flags.client.explain(ctx, fmt.Errorf("consume %s-%d: %w", e.Topic, e.Partition, e.Err))
		}
	}
	return nil
}

// print writes the records and counts them in once they are written.
func (c *consuming) print(out *bufio.Writer, fetches kgo.Fetches) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var line []byte
	var written []*kgo.Record
	for it := fetches.RecordIter(); !it.Done(); {
		r := it.Next()
		key := partition{r.Topic, r.Partition}
		at, ok := c.positions[key]
		if !ok {
			at.until = math.MaxInt64
		}
		if at.done() || c.flags.max > 0 && c.printed >= c.flags.max {
			continue
		}
		if r.Offset < at.until && !r.Attrs.IsControl() {
			line = c.text(line[:0], r)
			if _, err := out.Write(line); err != nil {
				return fmt.Errorf("print: %w", err)
			}
			c.printed++
		}
		at.next = r.Offset + 1
		c.positions[key] = at
		if c.flags.group != "" {
			written = append(written, r)
		} else if at.done() {
			c.client.PauseFetchPartitions(map[string][]int32{r.Topic: {r.Partition}})
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	c.client.MarkCommitRecords(written...)
	return nil
}

// assign consumes the topics without a group.
func (c *consuming) assign(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.flags.client.timeout)
	defer cancel()
	adm := kadm.NewClient(c.client)
	details, err := topicDetails(ctx, adm, c.topics...)
	if err != nil {
		return err
	}
	bounds, err := c.listBounds(ctx, adm)
	if err != nil {
		return err
	}
	consume := make(map[string]map[int32]kgo.Offset)
	for _, d := range details {
		for _, index := range c.wanted(d) {
			p := partition{d.Topic, index}
			at, err := bounds.place(p, c.start, c.flags.exit)
			if err != nil {
				return err
			}
			c.positions[p] = at
			if at.done() {
				continue
			}
			if consume[d.Topic] == nil {
				consume[d.Topic] = make(map[int32]kgo.Offset)
			}
			consume[d.Topic][index] = kgo.NewOffset().At(at.next)
		}
	}
	for _, index := range c.flags.partitions {
		for _, d := range details {
			if _, ok := d.Partitions[index]; !ok {
				return fmt.Errorf("topic %s has no partition %d, it has %d", d.Topic, index, len(d.Partitions))
			}
		}
	}
	c.client.AddConsumePartitions(consume)
	c.assigned = true
	return nil
}

// wanted are the partitions of a topic that --partition leaves.
func (c *consuming) wanted(d kadm.TopicDetail) []int32 {
	if len(c.flags.partitions) == 0 {
		return d.Partitions.Numbers()
	}
	var wanted []int32
	for _, index := range c.flags.partitions {
		if _, ok := d.Partitions[index]; ok {
			wanted = append(wanted, index)
		}
	}
	return wanted
}
