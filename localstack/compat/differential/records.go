package differential

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Offsets of fields in an encoded batch.
const (
	posCRC        = 17
	posAttributes = 21
	batchHeader   = 61
)

// Bits of a batch's attributes.
const (
	attrLogAppendTime = 1 << 3
	attrTransactional = 1 << 4
	attrControl       = 1 << 5
)

// batchTime is the time of records whose time does not matter, ms: about now, so that no
// broker takes them for old.
var batchTime = time.Now().UnixMilli()

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newBatch makes a sound batch of records with the values and the key "k".
func newBatch(values ...string) *kmsg.RecordBatch {
	b := kmsg.NewRecordBatch()
	b.PartitionLeaderEpoch, b.Magic = -1, 2
	b.FirstTimestamp, b.MaxTimestamp = batchTime, batchTime
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, -1, -1
	for i, value := range values {
		b.Records = append(b.Records, record(int32(i), 0, []byte("k"), []byte(value))...)
	}
	b.NumRecords, b.LastOffsetDelta = int32(len(values)), int32(len(values)-1)
	return &b
}

// producerBatch makes a batch of an idempotent producer.
func producerBatch(id int64, epoch int16, sequence int32, values ...string) *kmsg.RecordBatch {
	b := newBatch(values...)
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = id, epoch, sequence
	return b
}

// record encodes one record.
func record(offset int32, timestamp int64, key, value []byte, headers ...kmsg.Header) []byte {
	r := kmsg.NewRecord()
	r.OffsetDelta, r.TimestampDelta64, r.Key, r.Value, r.Headers = offset, timestamp, key, value, headers
	body := r.AppendTo(nil)
	_, n := binary.Varint(body) // the length, which is not known yet
	r.Length = int32(len(body) - n)
	return r.AppendTo(nil)
}

// encode is the batch with its length and CRC.
func encode(b *kmsg.RecordBatch) []byte {
	b.Length = int32(batchHeader - 12 + len(b.Records))
	return withCRC(b.AppendTo(nil))
}

// withCRC makes the CRC right again.
func withCRC(encoded []byte) []byte {
	binary.BigEndian.PutUint32(encoded[posCRC:], crc32.Checksum(encoded[posAttributes:], castagnoli))
	return encoded
}

// batches is the text of the batches that a fetch returned.
func (c *canon) batches(encoded []byte) string {
	if len(encoded) == 0 {
		return "no records"
	}
	var out []string
	for len(encoded) >= batchHeader {
		size := 12 + int(binary.BigEndian.Uint32(encoded[8:]))
		if size > len(encoded) {
			break // what is cut off at the end is for no client
		}
		out = append(out, c.batch(encoded[:size]))
		encoded = encoded[size:]
	}
	return strings.Join(out, "; ")
}

func (c *canon) batch(encoded []byte) string {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(encoded); err != nil {
		return "a batch that cannot be decoded: " + err.Error()
	}
	producer := "no producer"
	if b.ProducerID >= 0 {
		producer = fmt.Sprintf("%s epoch %d sequence %d", c.called("producer", strconv.FormatInt(b.ProducerID, 10)), b.ProducerEpoch, b.FirstSequence)
	}
	return fmt.Sprintf("%d+%d leader epoch %d attributes %#x times %s-%s %s, %d records", b.FirstOffset, b.LastOffsetDelta,
		b.PartitionLeaderEpoch, b.Attributes, moment(b.FirstTimestamp), moment(b.MaxTimestamp), producer, b.NumRecords)
}

func gzipOf(records []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(records) // a bytes.Buffer takes all
	_ = w.Close()
	return out.Bytes()
}

func zstdOf(records []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err) // its options are wrong
	}
	return w.EncodeAll(records, nil)
}
