package batch

import "fmt"

// Codec is the compression of a batch's records.
type Codec int8

// The codecs of Kafka.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var codecNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// String returns the name that Kafka's compression.type knows.
func (c Codec) String() string {
	if c.known() {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", int8(c))
}

func (c Codec) known() bool { return c >= None && c <= Zstd }
