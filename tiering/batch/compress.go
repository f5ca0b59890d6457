package batch

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const xerialBlock = 32 << 10 // bytes of plain data in a block, as Java makes them

var zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	must(err)
	return e
})

// compress appends plain to dst in the form that Java clients give to a codec.
func compress(dst []byte, c Codec, plain []byte) []byte {
	switch c {
	case Gzip:
		out := bytes.NewBuffer(dst)
		w := gzip.NewWriter(out)
		_, err := w.Write(plain)
		must(err)
		must(w.Close())
		return out.Bytes()
	case Snappy:
		return appendXerial(dst, plain)
	case LZ4:
		out := bytes.NewBuffer(dst)
		w := lz4.NewWriter(out)
		must(w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false)))
		_, err := w.Write(plain)
		must(err)
		must(w.Close())
		return out.Bytes()
	case Zstd:
		return zstdEncoder().EncodeAll(plain, dst)
	default:
		return append(dst, plain...)
	}
}

func appendXerial(dst, plain []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = append(dst, 0, 0, 0, 1, 0, 0, 0, 1) // version, and the oldest that can read it
	for len(plain) > 0 {
		n := min(len(plain), xerialBlock)
		block := s2.EncodeSnappy(nil, plain[:n])
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
		dst = append(dst, block...)
		plain = plain[n:]
	}
	return dst
}

// must panics: an encoder that writes to memory has no reason to fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
