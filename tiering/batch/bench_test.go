package batch_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/forebaylog/forebay/tiering/batch"
)

// kib16 is a batch of 16 records of 1 KiB that compress to about half.
func kib16(codec batch.Codec) batch.View {
	b := batch.New(codec).Producer(1, 0, 0)
	noise := rand.New(rand.NewPCG(1, 2))
	for i := range 16 {
		value := bytes.Repeat([]byte("x"), 1024)
		for j := 0; j < len(value); j += 2 {
			value[j] = byte(noise.Uint32())
		}
		b.Add(batch.Record{Timestamp: 1_700_000_000_000 + int64(i), Key: []byte("key-0001"), Value: value})
	}
	return b.Build()
}

func BenchmarkProduceChecks(b *testing.B) {
	v := kib16(batch.None)
	b.SetBytes(int64(len(v)))
	b.ReportAllocs()
	for b.Loop() {
		v.Stamp(0, 0)
		p, _, err := batch.ParseSent(v)
		if err != nil {
			b.Fatal(err)
		}
		if err := batch.ValidateProduce(p, batch.Rules{MaxBytes: 1 << 20}); err != nil {
			b.Fatal(err)
		}
		p.Stamp(1000, 3)
	}
}

func BenchmarkVerify(b *testing.B) {
	v := kib16(batch.None)
	b.SetBytes(int64(len(v)))
	for b.Loop() {
		if err := v.Verify(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for codec := range batch.Zstd + 1 {
		b.Run(codec.String(), func(b *testing.B) {
			v := kib16(codec)
			b.SetBytes(16 << 10)
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range batch.Decode(v, 0) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
