package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// reader reads every partition from offset 0, with a client of its own that keeps nothing
// from the client.
type reader struct {
	l       *load
	client  *kgo.Client
	seen    func(*kgo.Record) oracle.Record
	last    error // the latest error of a fetch
	records map[oracle.Partition][]oracle.Record
	control map[oracle.Partition][]int64
	next    map[oracle.Partition]int64
}

func newReader(l *load, name string, opts ...kgo.Opt) (*reader, error) {
	from := map[string]map[int32]kgo.Offset{}
	for _, topic := range l.topics {
		from[topic] = map[int32]kgo.Offset{}
		for index := range l.cfg.partitions {
			from[topic][int32(index)] = kgo.NewOffset().At(0)
		}
	}
	client, err := kgo.NewClient(append(append(l.clientOpts(name), kgo.ConsumePartitions(from), kgo.KeepControlRecords(),
		kgo.DisableFetchCRCValidation(), kgo.FetchMaxWait(500*time.Millisecond), kgo.ConsumeResetOffset(kgo.NoResetOffset())), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("start the reader %s: %w", name, err)
	}
	return &reader{
		l: l, client: client, seen: seenRecord, records: map[oracle.Partition][]oracle.Record{},
		control: map[oracle.Partition][]int64{}, next: map[oracle.Partition]int64{},
	}, nil
}

// readAll reads every partition past the end that it has and past the highest acknowledged
// offset, everything or what is committed only. What it could not read in time is not drained.
func readAll(ctx context.Context, l *load, name string, committed bool) ([]oracle.Read, error) {
	var opts []kgo.Opt
	if committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	r, err := newReader(l, name, opts...)
	if err != nil {
		return nil, err
	}
	defer r.client.Close()
	ends, endErr := r.ends(ctx)
	if endErr == nil {
		r.poll(ctx, func() bool { return r.reached(ends) })
	}
	stable := map[oracle.Partition]int64{}
	if committed {
		if stable, err = r.offsets(ctx, r.admin().ListCommittedOffsets); err != nil && endErr == nil {
			endErr = err
		}
	}
	reads := make([]oracle.Read, 0, len(l.partitions))
	for _, p := range l.partitions {
		read := oracle.Read{Name: name, Partition: p, End: ends[p], Records: r.records[p], Control: r.control[p], Drained: endErr == nil && r.next[p] >= ends[p], Committed: committed, Stable: stable[p]}
		if !read.Drained {
			read.Error = fmt.Sprint(errors.Join(endErr, r.last, ctx.Err()))
		}
		reads = append(reads, read)
	}
	return reads, nil
}

// poll reads until done or ctx ends.
func (r *reader) poll(ctx context.Context, done func() bool) {
	for !done() && ctx.Err() == nil {
		fetches := r.client.PollRecords(ctx, 10_000)
		fetches.EachError(func(topic string, index int32, err error) {
			if ctx.Err() == nil {
				r.last = fmt.Errorf("fetch %s-%d: %w", topic, index, err)
			}
		})
		fetches.EachRecord(func(rec *kgo.Record) {
			p := partitionOf(rec)
			r.next[p] = max(r.next[p], rec.Offset+1)
			if rec.Attrs.IsControl() {
				r.control[p] = append(r.control[p], rec.Offset)
				return
			}
			r.records[p] = append(r.records[p], r.seen(rec))
		})
	}
}

// ends returns where each partition must be read to: its high watermark, and no less than
// past what was acknowledged.
func (r *reader) ends(ctx context.Context) (map[oracle.Partition]int64, error) {
	ends, err := r.offsets(ctx, r.admin().ListEndOffsets)
	for p, end := range ends {
		ends[p] = max(end, r.l.rec.acknowledged(p)+1)
	}
	return ends, err
}

func (r *reader) admin() *kadm.Client { return kadm.NewClient(r.client) }

// offsets lists an offset of each partition, and tries until it has all or ctx ends.
func (r *reader) offsets(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (map[oracle.Partition]int64, error) {
	for {
		listed, err := list(ctx, r.l.topics...)
		if err == nil {
			err = listed.Error()
		}
		if err == nil {
			offsets := map[oracle.Partition]int64{}
			for _, p := range r.l.partitions {
				at, ok := listed.Lookup(p.Topic, p.Index)
				if !ok {
					err = fmt.Errorf("list an offset of %s: it is not there", p)
				}
				offsets[p] = at.Offset
			}
			if err == nil {
				return offsets, nil
			}
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("list the offsets of partitions: %w", errors.Join(err, ctx.Err()))
		}
	}
}

func (r *reader) reached(ends map[oracle.Partition]int64) bool {
	for p, end := range ends {
		if r.next[p] < end {
			return false
		}
	}
	return true
}

// pollAll reads what it can of every partition in its time and notes it as polls of a
// consumer: what comes must be right, though not all need come. It returns how many records came.
func pollAll(ctx context.Context, l *load, name string) (n int, err error) {
	r, err := newReader(l, name)
	if err != nil {
		return 0, err
	}
	defer r.client.Close()
	invoked := l.rec.now()
	ends, err := r.ends(ctx)
	if err == nil {
		r.poll(ctx, func() bool { return r.reached(ends) })
	}
	for p, records := range r.records {
		l.rec.polled("", oracle.Poll{Span: oracle.Span{Invoked: invoked}, Consumer: name, Assignment: 1, Partition: p, Records: records})
		n += len(records)
	}
	return n, nil
}
