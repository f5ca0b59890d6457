//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// franz is franz-go. It produces in this process, with the events' own times. It consumes in
// a process of its own, this test binary run again, so that a member can be killed like any other.
type franz struct{}

func (franz) name() string { return "franz-go" }

func compression(codec string) kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[codec]
}

// record returns the event as a record; without a time of its own it gets the time it is produced at.
func (e event) record(topic string) *kgo.Record {
	r := &kgo.Record{Topic: topic, Key: []byte(e.key), Value: []byte(e.value)}
	if e.millis != 0 {
		r.Timestamp = time.UnixMilli(e.millis)
	}
	return r
}

func (franz) produce(ctx context.Context, addr, topic, codec string, events []event) error {
	client, err := kgo.NewClient(seeds(addr), kgo.ProducerBatchCompression(compression(codec)),
		kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	var failed error
	for _, e := range events {
		client.Produce(ctx, e.record(topic), func(_ *kgo.Record, err error) {
			failed = errors.Join(failed, err)
		})
	}
	return errors.Join(client.Flush(ctx), failed)
}

// The environment that turns this test binary into a consumer.
const (
	memberAddr  = "FOREBAY_E2E_MEMBER_ADDR"
	memberTopic = "FOREBAY_E2E_MEMBER_TOPIC"
	memberGroup = "FOREBAY_E2E_MEMBER_GROUP"
	memberCount = "FOREBAY_E2E_MEMBER_COUNT"
)

func (franz) self(ctx context.Context, env ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

func (f franz) alone(ctx context.Context, addr, topic string, n int) *exec.Cmd {
	return f.self(ctx, memberAddr+"="+addr, memberTopic+"="+topic, memberCount+"="+strconv.Itoa(n))
}

func (f franz) member(ctx context.Context, addr, group, topic string) *exec.Cmd {
	return f.self(ctx, memberAddr+"="+addr, memberTopic+"="+topic, memberGroup+"="+group)
}

// consumeMain is the process of a franz-go consumer: it prints records until it has printed
// as many as asked, or until SIGTERM, when it commits and leaves its group.
func consumeMain() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	limit, _ := strconv.Atoi(os.Getenv(memberCount))
	opts := []kgo.Opt{
		seeds(os.Getenv(memberAddr)), kgo.ConsumeTopics(os.Getenv(memberTopic)),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}
	group := os.Getenv(memberGroup)
	if group != "" {
		opts = append(opts, kgo.ConsumerGroup(group), kgo.SessionTimeout(sessionTimeout),
			kgo.HeartbeatInterval(500*time.Millisecond), kgo.AutoCommitMarks(), kgo.BlockRebalanceOnPoll())
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	out := bufio.NewWriterSize(os.Stdout, 1<<16)
	for n := 0; limit == 0 || n < limit; {
		fetches := client.PollRecords(ctx, 10_000)
		if ctx.Err() != nil {
			break
		}
		var rejoins *kgo.ErrGroupSession // it joins again by itself
		if errs := fetches.Errors(); len(errs) > 0 && !errors.As(errs[0].Err, &rejoins) {
			return fmt.Errorf("fetch %s-%d: %w", errs[0].Topic, errs[0].Partition, errs[0].Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			fmt.Fprintf(out, "%d\t%d\t%s\t%s\n", r.Partition, r.Offset, r.Key, r.Value)
			n++
		})
		if err := out.Flush(); err != nil {
			return err
		}
		if group != "" {
			client.MarkCommitRecords(fetches.Records()...)
			client.AllowRebalance()
		}
	}
	if group == "" {
		return nil
	}
	return client.CommitMarkedOffsets(context.Background())
}

// seeds are the brokers of a list with commas.
func seeds(addr string) kgo.Opt { return kgo.SeedBrokers(strings.Split(addr, ",")...) }

// admin runs f with an admin client.
func admin(addr string, f func(*kadm.Client) error) error {
	client, err := kgo.NewClient(seeds(addr))
	if err != nil {
		return err
	}
	defer client.Close()
	return f(kadm.NewClient(client))
}

// createTopic makes a topic that keeps events however old they are.
func createTopic(ctx context.Context, addr, topic string, partitions int) error {
	forever, tries := "-1", 0
	return settled(ctx, func(ctx context.Context) error {
		return admin(addr, func(a *kadm.Client) error {
			tries++
			_, err := a.CreateTopic(ctx, int32(partitions), replicas(), map[string]*string{"retention.ms": &forever}, topic)
			if tries > 1 && errors.Is(err, kerr.TopicAlreadyExists) { // by a try whose answer was lost
				return nil
			}
			return err
		})
	})
}

// endOffsets returns the high watermark of each partition.
func endOffsets(ctx context.Context, addr, topic string) (ends map[int32]int64, total int64, err error) {
	err = settled(ctx, func(ctx context.Context) (err error) {
		ends, total, err = listEnds(ctx, addr, topic)
		return err
	})
	return ends, total, err
}

// listEnds asks once for the high watermark of each partition.
func listEnds(ctx context.Context, addr, topic string) (ends map[int32]int64, total int64, err error) {
	ends = map[int32]int64{}
	err = admin(addr, func(a *kadm.Client) error {
		listed, err := a.ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		for p, o := range listed[topic] {
			if o.Err != nil {
				return o.Err
			}
			ends[p] = o.Offset
			total += o.Offset
		}
		return nil
	})
	return ends, total, err
}

// committed returns the offsets that a group has committed.
func committed(ctx context.Context, addr, group, topic string) (map[int32]int64, error) {
	offsets := map[int32]int64{}
	err := settled(ctx, func(ctx context.Context) error {
		return admin(addr, func(a *kadm.Client) error {
			fetched, err := a.FetchOffsets(ctx, group)
			if err != nil {
				return err
			}
			for p, o := range fetched[topic] {
				if o.Err != nil {
					return o.Err
				}
				offsets[p] = o.At
			}
			return nil
		})
	})
	return offsets, err
}

func (franz) offsetsForTime(ctx context.Context, addr, topic string, _ int, ms int64) (map[int32]int64, error) {
	offsets := map[int32]int64{}
	err := admin(addr, func(a *kadm.Client) error {
		listed, err := a.ListOffsetsAfterMilli(ctx, ms, topic)
		if err != nil {
			return err
		}
		for p, o := range listed[topic] {
			if o.Err != nil {
				return o.Err
			}
			offsets[p] = o.Offset
			if o.Timestamp == -1 { // kadm answers with the end where there is none
				offsets[p] = -1
			}
		}
		return nil
	})
	return offsets, err
}
