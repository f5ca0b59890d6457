package main

import (
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"
)

// producerFlags are the settings that every command that produces has.
type producerFlags struct {
	acks        string
	compression string
	idempotent  bool
	maxBytes    int32
}

func (p *producerFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&p.acks, "acks", "all", "which acknowledgement to wait for: all, 1 or 0")
	flags.StringVarP(&p.compression, "compression", "z", "none", "none, gzip, snappy, lz4 or zstd")
	flags.BoolVar(&p.idempotent, "idempotent", true, "let the broker drop what a retry sends twice; needs --acks all")
	flags.Int32Var(&p.maxBytes, "max-batch-bytes", 1_000_012, "largest batch, and so largest record, in bytes; the topic's max.message.bytes must allow it")
}

// options turns the settings into the client's. Fewer acks than all imply that the
// producer is not idempotent.
func (p *producerFlags) options(flags *pflag.FlagSet) ([]kgo.Opt, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	codec, ok := codecs[p.compression]
	if !ok {
		return nil, usageErrorf("--compression %q: use none, gzip, snappy, lz4 or zstd", p.compression)
	}
	if p.maxBytes < 1024 {
		return nil, usageErrorf("--max-batch-bytes %d: want at least 1024", p.maxBytes)
	}
	opts := []kgo.Opt{kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(p.maxBytes), kgo.BrokerMaxWriteBytes(max(p.maxBytes+1024, 100<<20))}
	idempotent := p.idempotent
	switch p.acks {
	case "all", "-1":
		opts = append(opts, kgo.RequiredAcks(kgo.AllISRAcks()))
	case "1", "0":
		if idempotent && flags.Changed("idempotent") {
			return nil, usageErrorf("--idempotent needs --acks all")
		}
		idempotent = false
		acks := kgo.LeaderAck()
		if p.acks == "0" {
			acks = kgo.NoAck()
		}
		opts = append(opts, kgo.RequiredAcks(acks))
	default:
		return nil, usageErrorf("--acks %q: use all, 1 or 0", p.acks)
	}
	if !idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	return opts, nil
}
