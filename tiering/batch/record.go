package batch

import (
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
	return func(yield func(Record, error) bool) { decode(v, limit, yield) }
}

func decode(v View, limit int64, yield func(Record, error) bool) { panic("next commit") }
