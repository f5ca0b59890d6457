package batch

import (
	"fmt"
	"iter"

	"github.com/forebaylog/forebay/infra/id"
)

// Header is one header of a record. A nil Value is a null.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record of a batch. A nil Key or Value is a null. When Decode
// yields it, its slices live until the next step of the iteration.
type Record struct {
	Offset    id.Offset
	Timestamp int64 // milliseconds since 1970, -1 if there is none
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Decode yields the records of v in order. Records of a compressed batch are
// decompressed into at most limit bytes, and ErrTooLarge is yielded if they are
// more; limit below 1 means DefaultDecodeLimit. An error ends the iteration; it is
// ErrCorrupt, ErrTooLarge or ErrUnsupportedCodec. The checksum is not verified.
func Decode(v View, limit int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		body := v[HeaderSize:]
		if v.Codec() != None {
			d := getDecompressor()
			defer d.release()
			var err error
			if body, err = d.decompress(v.Codec(), body, limit); err != nil {
				yield(Record{}, fmt.Errorf("decode record batch at offset %d: %w", v.BaseOffset(), err))
				return
			}
		}
		decodeBody(v, body, yield)
	}
}

// decodeBody yields the records of a plain body.
func decodeBody(v View, body []byte, yield func(Record, error) bool) {
	c := cursor{b: body}
	var rec Record
	last := int32(-1)
	for i := range v.Records() {
		f, ok := c.next()
		if ok && (f.offsetDelta <= last || f.offsetDelta > v.LastOffsetDelta()) {
			ok = c.fail("its offset delta is out of order")
		}
		last = f.offsetDelta
		if !ok {
			yield(Record{}, fmt.Errorf("decode record batch at offset %d: record %d: %s: %w", v.BaseOffset(), i, c.problem, ErrCorrupt))
			return
		}
		rec.Offset = v.BaseOffset() + id.Offset(f.offsetDelta)
		rec.Timestamp = v.BaseTimestamp() + f.timestampDelta
		if v.LogAppendTime() {
			rec.Timestamp = v.MaxTimestamp()
		}
		rec.Key, rec.Value = f.key.of(body), f.value.of(body)
		rec.Headers = f.appendHeaders(rec.Headers[:0], body)
		if !yield(rec, nil) {
			return
		}
	}
	if c.at != len(body) {
		yield(Record{}, fmt.Errorf("decode record batch at offset %d: %d bytes after the last record: %w", v.BaseOffset(), len(body)-c.at, ErrCorrupt))
	}
}

// span is a part of a body; to below from means null.
type span struct{ from, to int }

func (s span) null() bool { return s.to < s.from }

func (s span) of(b []byte) []byte {
	if s.null() {
		return nil
	}
	return b[s.from:s.to:s.to]
}

// fields is where the parts of one record lie in its body.
type fields struct {
	timestampDelta int64
	offsetDelta    int32
	key, value     span
	headers        int // their number
	headersAt      int // the position of the first
}

// appendHeaders decodes headers that the cursor has already checked.
func (f *fields) appendHeaders(to []Header, body []byte) []Header {
	c := cursor{b: body, at: f.headersAt, end: len(body)}
	for range f.headers {
		key, _ := c.bytes()
		value, _ := c.bytes()
		to = append(to, Header{Key: string(key.of(body)), Value: value.of(body)})
	}
	return to
}

// cursor walks the records of a plain body. It reads lengths and steps over
// payloads without looking at them, and allocates nothing.
type cursor struct {
	b       []byte
	at      int
	end     int    // of the current record
	problem string // what is wrong, after a false
}

// next steps over one record: it is true only if every length in it fits and they use it up exactly.
//
//	length varint | attributes int8 | timestamp delta varlong | offset delta varint |
//	key length varint, key | value length varint, value | header count varint, headers…
func (c *cursor) next() (f fields, ok bool) {
	c.end = len(c.b)
	size, ok := c.varint()
	if !ok || size < 0 || size > int64(len(c.b)-c.at) {
		return f, c.fail("its length does not fit into the batch")
	}
	if c.end = c.at + int(size); c.at == c.end {
		return f, c.fail("it is empty")
	}
	c.at++ // attributes, which have no meaning yet
	if f.timestampDelta, ok = c.varlong(); !ok {
		return f, c.fail("bad timestamp delta")
	}
	delta, ok := c.varint()
	if !ok {
		return f, c.fail("bad offset delta")
	}
	f.offsetDelta = int32(delta)
	if f.key, ok = c.bytes(); !ok {
		return f, c.fail("bad key length")
	}
	if f.value, ok = c.bytes(); !ok {
		return f, c.fail("bad value length")
	}
	return f, c.skipHeaders(&f)
}

func (c *cursor) skipHeaders(f *fields) bool {
	n, ok := c.varint()
	if !ok || n < 0 || n > int64(c.end-c.at)/2 {
		return c.fail("bad number of headers")
	}
	f.headers, f.headersAt = int(n), c.at
	for range n {
		if key, ok := c.bytes(); !ok || key.null() {
			return c.fail("bad header key length")
		}
		if _, ok := c.bytes(); !ok {
			return c.fail("bad header value length")
		}
	}
	if c.at != c.end {
		return c.fail("its length differs from the sum of its parts")
	}
	return true
}

func (c *cursor) fail(problem string) bool {
	c.problem = problem
	return false
}

// bytes steps over a length, -1 for null, and as many bytes.
func (c *cursor) bytes() (span, bool) {
	n, ok := c.varint()
	if !ok || n < -1 || n > int64(c.end-c.at) {
		return span{}, false
	}
	s := span{from: c.at, to: c.at + int(n)}
	if n > 0 {
		c.at += int(n)
	}
	return s, true
}

// varint reads a zigzag number of 32 bits.
func (c *cursor) varint() (int64, bool) {
	if at := c.at; at < c.end && c.b[at] < 0x80 { // most numbers have one byte
		c.at++
		u := c.b[at]
		return int64(u>>1) ^ -int64(u&1), true
	}
	n, ok := c.longVarint()
	return n, ok && n == int64(int32(n))
}

// varlong reads a zigzag number of 64 bits.
func (c *cursor) varlong() (int64, bool) {
	if at := c.at; at < c.end && c.b[at] < 0x80 {
		c.at++
		u := c.b[at]
		return int64(u>>1) ^ -int64(u&1), true
	}
	return c.longVarint()
}

func (c *cursor) longVarint() (int64, bool) {
	var u uint64
	for shift := 0; shift < 70 && c.at < c.end; shift += 7 {
		b := c.b[c.at]
		c.at++
		u |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return int64(u>>1) ^ -int64(u&1), shift < 63 || b < 2
		}
	}
	return 0, false
}
