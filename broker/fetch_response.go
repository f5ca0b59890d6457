package broker

import (
	"encoding/binary"

	"github.com/forebaylog/forebay/broker/wire"
)

// fetchResponse is a Fetch answer whose records go to the socket from the memory
// that they are in: kmsg, which encodes every other response, can only copy them.
type fetchResponse struct {
	version   int16
	code      int16
	sessionID int32
	parts     []fetched
	nodes     []endpoint // where the leaders are that parts tell (version 16)
}

// SetVersion sets the version that AppendBuffers encodes.
func (r *fetchResponse) SetVersion(version int16) { r.version = version }

// IsFlexible reports whether the version has tagged fields (KIP-482).
func (r *fetchResponse) IsFlexible() bool { return r.version >= 12 }

// AppendTo encodes with the records copied; AppendBuffers is what the writer uses.
func (r *fetchResponse) AppendTo(dst []byte) []byte {
	var b wire.Buffers
	r.AppendBuffers(&b)
	for _, piece := range b.Vector() {
		dst = append(dst, piece...)
	}
	return dst
}

// AppendBuffers encodes the answer with its records by reference.
//
//	throttle int32 | error int16, session int32 (v7+) | topics | tags (v12+)
//	topic: name (to v12) or id (v13+) | partitions | tags (v12+)
func (r *fetchResponse) AppendBuffers(b *wire.Buffers) {
	groups := r.topics()
	b.Append(func(dst []byte) []byte {
		dst = binary.BigEndian.AppendUint32(dst, 0)
		if r.version >= 7 {
			dst = binary.BigEndian.AppendUint16(dst, uint16(r.code))
			dst = binary.BigEndian.AppendUint32(dst, uint32(r.sessionID))
		}
		return r.appendLen(dst, len(groups))
	})
	for _, parts := range groups {
		b.Append(func(dst []byte) []byte {
			if r.version >= 13 {
				dst = append(dst, parts[0].want.id[:]...)
			} else {
				dst = r.appendString(dst, parts[0].want.topic)
			}
			return r.appendLen(dst, len(parts))
		})
		for i := range parts {
			r.appendPartition(b, &parts[i])
		}
		r.appendNoTags(b)
	}
	if r.IsFlexible() && len(r.nodes) > 0 {
		b.Append(r.appendNodes)
		return
	}
	r.appendNoTags(b)
}

// topics groups the partitions that follow each other by topic.
func (r *fetchResponse) topics() [][]fetched {
	var groups [][]fetched
	for start := 0; start < len(r.parts); {
		end := start + 1
		for end < len(r.parts) && r.parts[end].want.topic == r.parts[start].want.topic && r.parts[end].want.id == r.parts[start].want.id {
			end++
		}
		groups = append(groups, r.parts[start:end])
		start = end
	}
	return groups
}

// appendPartition encodes
//
//	index int32 | error int16 | high watermark int64 | last stable int64 |
//	log start int64 (v5+) | aborted | preferred replica int32 (v11+) | records | tags (v12+)
func (r *fetchResponse) appendPartition(b *wire.Buffers, f *fetched) {
	b.Append(func(dst []byte) []byte {
		dst = binary.BigEndian.AppendUint32(dst, uint32(f.want.index))
		dst = binary.BigEndian.AppendUint16(dst, uint16(f.code))
		dst = binary.BigEndian.AppendUint64(dst, uint64(f.high))
		dst = binary.BigEndian.AppendUint64(dst, uint64(f.stable))
		if r.version >= 5 {
			dst = binary.BigEndian.AppendUint64(dst, uint64(f.start))
		}
		dst = r.appendAborted(dst, f)
		if r.version >= 11 {
			dst = binary.BigEndian.AppendUint32(dst, 1<<32-1)
		}
		return r.appendLen(dst, f.bytes)
	})
	for _, batch := range f.batches {
		b.Ref(batch)
	}
	if r.IsFlexible() {
		b.Append(f.appendTags)
	}
}

// appendAborted encodes the aborted transactions, null for a read of what is not committed too:
//
//	producer int64 | first offset int64 | tags (v12+)
func (r *fetchResponse) appendAborted(dst []byte, f *fetched) []byte {
	if !f.committed || f.code != 0 {
		return r.appendNull(dst)
	}
	dst = r.appendLen(dst, len(f.aborted))
	for _, t := range f.aborted {
		dst = binary.BigEndian.AppendUint64(dst, uint64(t.Producer))
		dst = binary.BigEndian.AppendUint64(dst, uint64(t.First))
		if r.IsFlexible() {
			dst = append(dst, 0)
		}
	}
	return dst
}

// appendTags encodes the tagged fields of a partition: DivergingEpoch is tag 0,
// CurrentLeader tag 1, each behind its length and with no tags of its own.
func (f *fetched) appendTags(dst []byte) []byte {
	const divergingSize, leaderSize = 4 + 8 + 1, 4 + 4 + 1
	n := 0
	for _, there := range []bool{f.diverging != nil, f.leader != nil} {
		if there {
			n++
		}
	}
	dst = append(dst, byte(n))
	if f.diverging != nil {
		dst = append(dst, 0, divergingSize)
		dst = binary.BigEndian.AppendUint32(dst, uint32(f.diverging.epoch))
		dst = binary.BigEndian.AppendUint64(dst, uint64(f.diverging.end))
		dst = append(dst, 0)
	}
	if f.leader != nil {
		dst = append(dst, 1, leaderSize)
		dst = binary.BigEndian.AppendUint32(dst, uint32(f.leader.id))
		dst = binary.BigEndian.AppendUint32(dst, uint32(f.leader.epoch))
		dst = append(dst, 0)
	}
	return dst
}

// appendNodes encodes the tagged fields of a response with NodeEndpoints, tag 0:
//
//	nodes: id int32 | host | port int32 | rack, nullable | tags
func (r *fetchResponse) appendNodes(dst []byte) []byte {
	body := r.appendLen(nil, len(r.nodes))
	for _, n := range r.nodes {
		body = binary.BigEndian.AppendUint32(body, uint32(n.id))
		body = r.appendString(body, n.host)
		body = binary.BigEndian.AppendUint32(body, uint32(n.port))
		if n.rack == nil {
			body = append(body, 0)
		} else {
			body = r.appendString(body, *n.rack)
		}
		body = append(body, 0)
	}
	dst = append(dst, 1, 0)
	dst = binary.AppendUvarint(dst, uint64(len(body)))
	return append(dst, body...)
}

func (r *fetchResponse) appendNoTags(b *wire.Buffers) {
	if r.IsFlexible() {
		_, _ = b.Write([]byte{0})
	}
}

// appendLen encodes the length of an array or of bytes.
func (r *fetchResponse) appendLen(dst []byte, n int) []byte {
	if r.IsFlexible() {
		return binary.AppendUvarint(dst, uint64(n)+1)
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

// appendNull encodes the length of a null array.
func (r *fetchResponse) appendNull(dst []byte) []byte {
	if r.IsFlexible() {
		return append(dst, 0)
	}
	return binary.BigEndian.AppendUint32(dst, 1<<32-1)
}

func (r *fetchResponse) appendString(dst []byte, s string) []byte {
	if r.IsFlexible() {
		dst = binary.AppendUvarint(dst, uint64(len(s))+1)
	} else {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	}
	return append(dst, s...)
}

var _ gathered = (*fetchResponse)(nil)
