package wire

import "encoding/binary"

// reader takes Kafka's primitive types off a slice without copying or allocating.
// After the first thing that does not fit, bad is set and everything is zero.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) fail() {
	r.bad, r.rest = true, nil
}

// take returns the next n bytes.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.fail()
		return nil
	}
	p := r.rest[:n:n]
	r.rest = r.rest[n:]
	return p
}

// int16 reads a number of two bytes.
func (r *reader) int16() int {
	if p := r.take(2); p != nil {
		return int(int16(binary.BigEndian.Uint16(p)))
	}
	return 0
}

// int32 reads a number of four bytes.
func (r *reader) int32() int {
	if p := r.take(4); p != nil {
		return int(int32(binary.BigEndian.Uint32(p)))
	}
	return 0
}

// uvarint reads an unsigned varint of at most 32 bits.
func (r *reader) uvarint() uint32 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > 1<<32-1 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return uint32(v)
}

// nullableString reads a string with a length of two bytes; -1 is null.
func (r *reader) nullableString() []byte {
	n := r.int16()
	if n == -1 {
		return nil
	}
	return r.take(n)
}

// tags skips tagged fields (KIP-482) and returns how many there were.
func (r *reader) tags() int {
	n := 0
	for left := r.uvarint(); left > 0 && !r.bad; left-- {
		r.uvarint()
		r.take(int(r.uvarint()))
		n++
	}
	return n
}
