package main

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// partitionOf names a record's partition.
func partitionOf(r *kgo.Record) oracle.Partition {
	return oracle.Partition{Topic: r.Topic, Index: r.Partition}
}

// seenRecord is a record as the history holds it.
func seenRecord(r *kgo.Record) oracle.Record {
	rec := oracle.Record{Offset: r.Offset, Sum: sum(r)}
	var err error
	if rec.Value, err = oracle.ParseValue(string(r.Value)); err != nil {
		rec.Bad = string(r.Value)
	}
	return rec
}

// sum is a checksum of all that a record holds and its batch says of it.
func sum(r *kgo.Record) uint64 {
	h := xxhash.New()
	field := func(b []byte) {
		_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(b)))) // never fails
		_, _ = h.Write(b)
	}
	field(r.Key)
	field(r.Value)
	for _, header := range r.Headers {
		field([]byte(header.Key))
		field(header.Value)
	}
	var b []byte
	for _, n := range []int64{r.Timestamp.UnixMilli(), r.ProducerID, int64(r.ProducerEpoch), int64(r.LeaderEpoch)} {
		b = binary.AppendVarint(b, n)
	}
	field(b)
	return h.Sum64()
}
