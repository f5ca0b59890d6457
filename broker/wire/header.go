package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Errors of this package. All of them mean that the connection cannot go on.
var (
	// ErrMalformed: bytes that are no request of Kafka's protocol.
	ErrMalformed = errors.New("malformed request")
	// ErrTooLarge: a size above a limit.
	ErrTooLarge = errors.New("request too large")
)

// prefixSize is what stands at the start of the header in every version, in bytes.
const prefixSize = 8

// Header is the header of a request.
type Header struct {
	Key           kmsg.Key
	Version       int16
	CorrelationID int32
	ClientID      string // "" also for a null one
}

// ParsePrefix reads key, version and correlation id, which stand at the same place
// whatever the version, so that a version that is not known can be answered. It
// fails with ErrMalformed.
func ParsePrefix(frame []byte) (Header, error) {
	if len(frame) < prefixSize {
		return Header{}, fmt.Errorf("parse request header of %d bytes: %w", len(frame), ErrMalformed)
	}
	return Header{
		Key:           kmsg.Key(binary.BigEndian.Uint16(frame)),
		Version:       int16(binary.BigEndian.Uint16(frame[2:])),
		CorrelationID: int32(binary.BigEndian.Uint32(frame[4:])),
	}, nil
}

// ParseHeader reads a request header of version 1 or, if the request is flexible,
// of version 2, and returns the body behind it, which aliases frame. Tagged fields
// of the header are skipped. It fails with ErrMalformed.
func ParseHeader(frame []byte, flexible bool) (h Header, body []byte, err error) {
	h, err = ParsePrefix(frame)
	if err != nil {
		return Header{}, nil, err
	}
	r := reader{rest: frame[prefixSize:]}
	h.ClientID = string(r.nullableString())
	if flexible {
		r.tags()
	}
	if r.bad {
		return Header{}, nil, fmt.Errorf("parse header of request %s: %w", h.Key.Name(), ErrMalformed)
	}
	return h, r.rest, nil
}

// AppendResponseHeader appends a response header of version 0 or, if the response
// is flexible, of version 1. That of ApiVersions is always version 0 (KIP-511).
func AppendResponseHeader(dst []byte, key kmsg.Key, correlationID int32, flexible bool) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if flexible && key != kmsg.ApiVersions {
		dst = append(dst, 0) // no tags
	}
	return dst
}
