package partition_test

import (
	"bytes"
	"testing"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
)

// BenchmarkAppend is the way of a batch from its validation to its commit, on a disk in memory.
func BenchmarkAppend(b *testing.B) {
	r := newRig(b)
	l := r.log(0)
	v := batchOf([]int64{1, 2, 3, 4, 5}, id.NoProducer, -1, -1)
	b.ReportAllocs()
	done := make(chan error, 1)
	for b.Loop() {
		// Of 100 batches one is waited for.
		for n := range 100 {
			a := partition.Append{Batch: bytes.Clone(v), Acks: partition.AcksAll, Now: r.now}
			if n == 99 {
				a.Done = func(err error) { done <- err }
			}
			if _, err := l.Append(a); err != nil {
				b.Fatal(err)
			}
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
