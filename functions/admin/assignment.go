package admin

import "encoding/binary"

// assignmentOf reads what consumers are assigned, in the form that they all write (ConsumerProtocolAssignment): the version in
// 2 bytes, and a list of topics, each a name and a list of partitions; user data is left alone. It returns nil
// for what is no such thing.
//
// Lists have their count before them in 4 bytes and texts their length in 2, big endian.
func assignmentOf(b []byte) map[string][]int {
	r := assignmentReader{b: b}
	r.number(2)
	assigned := map[string][]int{}
	for range r.number(4) {
		topic := string(r.bytes(r.number(2)))
		partitions := []int{}
		for range r.number(4) {
			if partitions = append(partitions, r.number(4)); r.failed {
				return nil
			}
		}
		if assigned[topic] = partitions; r.failed {
			return nil
		}
	}
	if r.failed {
		return nil
	}
	return assigned
}

// assignmentReader reads fields; after the first failure everything is zero.
type assignmentReader struct {
	b      []byte
	failed bool
}

func (r *assignmentReader) bytes(n int) []byte {
	if r.failed || n < 0 || n > len(r.b) {
		r.failed = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// number reads a signed number of so many bytes; a negative one counts as 0.
func (r *assignmentReader) number(size int) int {
	b := r.bytes(size)
	switch {
	case r.failed:
		return 0
	case size == 2:
		return max(0, int(int16(binary.BigEndian.Uint16(b))))
	}
	return max(0, int(int32(binary.BigEndian.Uint32(b))))
}
