package batch

import (
	"encoding/binary"

	"github.com/forebaylog/forebay/infra/id"
)

// Builder makes a batch out of records: for compaction, commands and tests. The zero value is not
// usable, see New and Rebuild.
type Builder struct {
	head    View // the header so far
	records []byte
	scratch []byte
}

// New starts a batch of no producer at offset 0. It panics if the codec does not exist.
func New(codec Codec) *Builder {
	if !codec.known() {
		panic("batch: build with " + codec.String())
	}
	h := make(View, HeaderSize)
	h[posMagic] = Magic
	binary.BigEndian.PutUint16(h[posAttributes:], uint16(codec))
	h.put64(posMaxTimestamp, noTimestamp)
	b := &Builder{head: h}
	return b.Producer(id.NoProducer, -1, -1)
}

// Base sets the offset of the first record.
func (b *Builder) Base(o id.Offset) *Builder {
	b.head.put64(posBaseOffset, int64(o))
	return b
}

// Epoch sets the leader epoch.
func (b *Builder) Epoch(e id.Epoch) *Builder {
	b.head.put32(posLeaderEpoch, int32(e))
	return b
}

// Producer sets the producer id, its epoch and the sequence number of the first record.
func (b *Builder) Producer(p id.Producer, epoch int16, sequence int32) *Builder {
	b.head.put64(posProducerID, int64(p))
	binary.BigEndian.PutUint16(b.head[posProducerEpoch:], uint16(epoch))
	b.head.put32(posBaseSequence, sequence)
	return b
}

// Transactional marks the batch as part of a transaction.
func (b *Builder) Transactional() *Builder { return b.attribute(attrTransactional) }

func (b *Builder) attribute(bit uint16) *Builder {
	binary.BigEndian.PutUint16(b.head[posAttributes:], b.head.u16(posAttributes)|bit)
	return b
}

// Add appends a record. Its Offset is not used: records get consecutive ones. Nothing of r is kept.
func (b *Builder) Add(r Record) *Builder {
	n := b.head.Records()
	b.head.put32(posLastDelta, n)
	return b.add(r, n)
}

// add appends a record at an offset that is delta above the batch's.
func (b *Builder) add(r Record, delta int32) *Builder {
	n := b.head.Records()
	if _, fixed := b.head.DeleteHorizon(); n == 0 && !fixed {
		b.head.put64(posBaseTimestamp, r.Timestamp)
	}
	b.head.put64(posMaxTimestamp, max(b.head.MaxTimestamp(), r.Timestamp))
	rec := append(b.scratch[:0], 0) // attributes
	rec = binary.AppendVarint(rec, r.Timestamp-b.head.BaseTimestamp())
	rec = binary.AppendVarint(rec, int64(delta))
	rec = appendBytes(rec, r.Key)
	rec = appendBytes(rec, r.Value)
	rec = binary.AppendVarint(rec, int64(len(r.Headers)))
	for _, h := range r.Headers {
		rec = binary.AppendVarint(rec, int64(len(h.Key)))
		rec = append(rec, h.Key...)
		rec = appendBytes(rec, h.Value)
	}
	b.records = binary.AppendVarint(b.records, int64(len(rec)))
	b.records = append(b.records, rec...)
	b.scratch = rec
	b.head.put32(posRecords, n+1)
	return b
}

// appendBytes appends a length, -1 for nil, and the bytes.
func appendBytes(to, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(to, -1)
	}
	return append(binary.AppendVarint(to, int64(len(b))), b...)
}

// Build returns the batch. The Builder may be used on, to add more records for a later Build.
func (b *Builder) Build() View {
	return b.BuildInto(nil)
}

// BuildInto is Build into the memory of dst, whose content is lost.
func (b *Builder) BuildInto(dst View) View {
	v := append(dst[:0], b.head...)
	v = compress(v, v.Codec(), b.records)
	v.put32(posLength, int32(len(v)-logOverhead))
	v.seal()
	return v
}

func (v View) put32(at int, n int32) { binary.BigEndian.PutUint32(v[at:], uint32(n)) }
func (v View) put64(at int, n int64) { binary.BigEndian.PutUint64(v[at:], uint64(n)) }
