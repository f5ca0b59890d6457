package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/forebaylog/forebay/infra/id"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A segment starts with two copies of its header, so that one damaged sector does
// not take the salt, without which no frame can be checked. All numbers are big-endian.
//
//	0       4        6          8          16         24      28        92         124   128
//	| magic | version| len of   | segment  | created  | salt  | cluster | zeros    | crc |
//	| FBHS  |        | cluster  |          | ms       |       |         |          |     |
const (
	headerCopy = 128
	headerSize = 2 * headerCopy

	headerMagic   = 0x46424853 // "FBHS"
	headerVersion = 1

	posVersion    = 4
	posClusterLen = 6
	posSegment    = 8
	posCreated    = 16
	posSalt       = 24
	posCluster    = 28
	posHeaderCRC  = headerCopy - 4
)

var errVersion = errors.New("unknown version of the format")

// header is the identity of a segment. The salt starts every checksum of the
// segment's frames: bytes of another segment, or a record made to look like a
// frame by a producer who cannot know it, do not pass for a frame.
type header struct {
	id      id.Segment
	created int64 // ms
	salt    uint32
	cluster string // at most maxClusterLen bytes
}

// appendTo appends both copies.
func (h header) appendTo(b []byte) []byte {
	c := make([]byte, headerCopy)
	binary.BigEndian.PutUint32(c, headerMagic)
	binary.BigEndian.PutUint16(c[posVersion:], headerVersion)
	binary.BigEndian.PutUint16(c[posClusterLen:], uint16(len(h.cluster)))
	binary.BigEndian.PutUint64(c[posSegment:], uint64(h.id))
	binary.BigEndian.PutUint64(c[posCreated:], uint64(h.created))
	binary.BigEndian.PutUint32(c[posSalt:], h.salt)
	copy(c[posCluster:], h.cluster)
	binary.BigEndian.PutUint32(c[posHeaderCRC:], crc32.Checksum(c[:posHeaderCRC], castagnoli))
	return append(append(b, c...), c...)
}

// decodeHeader reads the first good copy. harm is the position of a bad copy that
// the other one stood in for, or -1.
func decodeHeader(b []byte) (h header, harm int64, err error) {
	if len(b) < headerSize {
		return header{}, 0, fmt.Errorf("decode segment header: %d bytes, want %d", len(b), headerSize)
	}
	first, errFirst := decodeHeaderCopy(b[:headerCopy])
	second, errSecond := decodeHeaderCopy(b[headerCopy:headerSize])
	switch {
	case errFirst != nil && errSecond != nil:
		return header{}, 0, fmt.Errorf("%w; second copy: %w", errFirst, errSecond)
	case errFirst != nil:
		return second, 0, nil
	case errSecond != nil || first != second:
		return first, headerCopy, nil
	}
	return first, -1, nil
}

func decodeHeaderCopy(c []byte) (header, error) {
	if m := binary.BigEndian.Uint32(c); m != headerMagic {
		return header{}, fmt.Errorf("decode segment header: magic is %08x, want %08x", m, headerMagic)
	}
	// The checksum comes before the version, so that a flipped bit does not pass for another version.
	if got, want := crc32.Checksum(c[:posHeaderCRC], castagnoli), binary.BigEndian.Uint32(c[posHeaderCRC:]); got != want {
		return header{}, fmt.Errorf("decode segment header: CRC32C is %08x, the header says %08x", got, want)
	}
	if v := binary.BigEndian.Uint16(c[posVersion:]); v != headerVersion {
		return header{}, fmt.Errorf("decode segment header: version is %d, this build reads %d: %w", v, headerVersion, errVersion)
	}
	n := int(binary.BigEndian.Uint16(c[posClusterLen:]))
	if n > maxClusterLen {
		return header{}, fmt.Errorf("decode segment header: cluster id of %d bytes, at most %d fit", n, maxClusterLen)
	}
	if len(bytes.Trim(c[posCluster+n:posHeaderCRC], "\x00")) > 0 {
		return header{}, fmt.Errorf("decode segment header: bytes after the cluster id are not zero")
	}
	return header{
		id:      id.Segment(binary.BigEndian.Uint64(c[posSegment:])),
		created: int64(binary.BigEndian.Uint64(c[posCreated:])),
		salt:    binary.BigEndian.Uint32(c[posSalt:]),
		cluster: string(c[posCluster : posCluster+n]),
	}, nil
}

const segmentSuffix = ".hot"

func segmentName(s id.Segment) string { return s.String() + segmentSuffix }

// parseSegmentName is the reverse of segmentName; ok is false for any other file.
func parseSegmentName(name string) (s id.Segment, ok bool) {
	hex, found := strings.CutSuffix(name, segmentSuffix)
	if !found || len(hex) != 16 || strings.ToLower(hex) != hex {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return id.Segment(n), err == nil && n > 0
}
