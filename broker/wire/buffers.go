package wire

import (
	"encoding/binary"
	"net"
)

// minRef is the size in bytes from which a separate element of a writev is cheaper
// than a copy.
const minRef = 1 << 10

// maxKeep is the largest scratch memory in bytes that Reset keeps.
const maxKeep = 16 << 10

// Buffers gathers what goes to a socket in one writev: bytes of its own and
// references to the memory of others. The zero value is empty. It is not safe for
// concurrent use.
type Buffers struct {
	own  []byte // all bytes that were appended, without those referred to
	refs []ref  // in order of position
	len  int
}

// Mark is a state of Buffers to go back to.
type Mark struct{ own, refs, len int }

// ref is memory of others that stands before own[at].
type ref struct {
	at  int
	mem []byte
}

// Append extends the bytes by what f appends to dst. f must not change dst.
func (b *Buffers) Append(f func(dst []byte) []byte) {
	n := len(b.own)
	b.own = f(b.own)
	b.len += len(b.own) - n
}

// Write copies p. It never fails.
func (b *Buffers) Write(p []byte) (int, error) {
	b.own = append(b.own, p...)
	b.len += len(p)
	return len(p), nil
}

// Ref adds p without copying it, unless it is small. p must not change until Reset.
func (b *Buffers) Ref(p []byte) {
	if len(p) < minRef {
		_, _ = b.Write(p)
		return
	}
	b.refs = append(b.refs, ref{at: len(b.own), mem: p})
	b.len += len(p)
}

// Len is the number of bytes gathered.
func (b *Buffers) Len() int { return b.len }

// Frame adds what f adds, preceded by its size in four bytes.
func (b *Buffers) Frame(f func(*Buffers)) {
	at := len(b.own)
	b.Append(func(dst []byte) []byte { return append(dst, 0, 0, 0, 0) })
	before := b.len
	f(b)
	binary.BigEndian.PutUint32(b.own[at:], uint32(b.len-before))
}

// Mark returns the state of b, for Cut.
func (b *Buffers) Mark() Mark { return Mark{own: len(b.own), refs: len(b.refs), len: b.len} }

// Cut drops what was added since m.
func (b *Buffers) Cut(m Mark) {
	clear(b.refs[m.refs:])
	b.own, b.refs, b.len = b.own[:m.own], b.refs[:m.refs], m.len
}

// Vector returns the bytes in order. It is valid until the next change of b.
func (b *Buffers) Vector() net.Buffers {
	v := make(net.Buffers, 0, 2*len(b.refs)+1)
	at := 0
	for _, r := range b.refs {
		if r.at > at {
			v = append(v, b.own[at:r.at])
			at = r.at
		}
		v = append(v, r.mem)
	}
	if at < len(b.own) {
		v = append(v, b.own[at:])
	}
	return v
}

// Reset empties b and forgets the memory it referred to.
func (b *Buffers) Reset() {
	clear(b.refs)
	if cap(b.own) > maxKeep {
		b.own = nil
	}
	b.own, b.refs, b.len = b.own[:0], b.refs[:0], 0
}
