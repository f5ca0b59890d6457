package pack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/forebaylog/forebay/infra/id"
)

// Version is what a Writer writes. A reader takes it and the version before.
const Version = 2

const (
	oldestVersion = Version - 1
	versionSparse = 2 // the first one with a run's kind
)

const (
	headerMagic  = "FBAYPACK"
	trailerMagic = "KCAPYABF"

	versionAt   = 8  // in the header
	headerFixed = 24 // up to the names
	nameLimit   = 255
	crcSize     = 4
	headerLimit = headerFixed + 2*nameLimit + crcSize
	trailerSize = 24
	trailerSums = 12 // what the trailer's own checksum covers

	kindDense  = 0 // of a run
	kindSparse = 1
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errShort    = errors.New("it is cut short")
	errMagic    = errors.New("it has another magic")
	errChecksum = errors.New("its CRC32C is wrong")
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// Validate refuses a header that cannot be written.
func (h Header) Validate() error {
	if len(h.Cluster) > nameLimit || len(h.Session) > nameLimit {
		return fmt.Errorf("validate pack header: cluster id of %d bytes, session of %d, at most %d each", len(h.Cluster), len(h.Session), nameLimit)
	}
	return nil
}

// AppendTo appends the encoded header to b.
//
//	0       8   9   10  11  12     16         24        24+C      24+C+S
//	| magic | v | C | S | 0 | node | created  | cluster | session | crc |
func (h Header) AppendTo(b []byte) []byte { return h.appendVersion(b, Version) }

func (h Header) appendVersion(b []byte, version byte) []byte {
	start := len(b)
	b = append(b, headerMagic...)
	b = append(b, version, byte(len(h.Cluster)), byte(len(h.Session)), 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Node))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Created.UnixMilli()))
	b = append(b, h.Cluster...)
	b = append(b, h.Session...)
	return binary.LittleEndian.AppendUint32(b, checksum(b[start:]))
}

// DecodeHeader reads the header at the start of b and returns its length in bytes.
func DecodeHeader(b []byte) (h Header, size int, err error) {
	if len(b) < headerFixed {
		return h, 0, errShort
	}
	if string(b[:8]) != headerMagic {
		return h, 0, errMagic
	}
	if err := checkVersion(b[versionAt]); err != nil {
		return h, 0, err
	}
	c, s := int(b[9]), int(b[10])
	if size = headerFixed + c + s + crcSize; size > len(b) {
		return h, 0, errShort
	}
	body := b[:size-crcSize]
	if binary.LittleEndian.Uint32(b[size-crcSize:]) != checksum(body) {
		return h, 0, errChecksum
	}
	if body[11] != 0 {
		return h, 0, errors.New("its reserved byte is not 0")
	}
	h.Node = id.Broker(binary.LittleEndian.Uint32(body[12:]))
	h.Created = time.UnixMilli(int64(binary.LittleEndian.Uint64(body[16:])))
	h.Cluster, h.Session = string(body[24:24+c]), string(body[24+c:])
	return h, size, nil
}

func checkVersion(v byte) error {
	if v < oldestVersion || v > Version {
		return fmt.Errorf("version %d, this release reads %d to %d: %w", v, oldestVersion, Version, ErrVersion)
	}
	return nil
}

// appendTrailer appends the trailer of an encoded footer.
//
//	0            4            8   9   12      16      24
//	| footer len | footer crc | v | 0 | crc   | magic |
func appendTrailer(b, footer []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(footer)))
	b = binary.LittleEndian.AppendUint32(b, checksum(footer))
	b = append(b, Version, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, checksum(b[start:]))
	return append(b, trailerMagic...)
}

type trailer struct {
	version      byte
	footerLength int64
	footerCRC    uint32
}

// decodeTrailer reads the trailer at the end of b.
func decodeTrailer(b []byte) (t trailer, err error) {
	if len(b) < trailerSize {
		return t, errShort
	}
	b = b[len(b)-trailerSize:]
	if !bytes.HasSuffix(b, []byte(trailerMagic)) {
		return t, errMagic
	}
	if err := checkVersion(b[8]); err != nil {
		return t, err
	}
	if binary.LittleEndian.Uint32(b[trailerSums:]) != checksum(b[:trailerSums]) {
		return t, errChecksum
	}
	if b[9]|b[10]|b[11] != 0 {
		return t, errors.New("its reserved bytes are not 0")
	}
	t.version = b[8]
	t.footerLength = int64(binary.LittleEndian.Uint32(b))
	t.footerCRC = binary.LittleEndian.Uint32(b[4:])
	return t, nil
}
