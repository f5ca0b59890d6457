package metalog

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"reflect"
)

// Errors of what is stored.
var (
	// ErrCorrupt: a slot or a snapshot is damaged, or a slot is missing.
	ErrCorrupt = errors.New("metadata damaged")
	// ErrNewer: a newer Forebay wrote it, in a way that this one cannot fold. Upgrade this one.
	ErrNewer = errors.New("metadata written by a newer Forebay")
)

// A slot and a snapshot are a header and a body of JSON:
//
//	offset  0  4 bytes  magic: "FBMS" slot, "FBMI" snapshot (image)
//	offset  4  1 byte   version of the frame and of the body's outer form: slot 1, snapshot by level
//	offset  5  1 byte   encoding of the body: 0 plain, 1 DEFLATE
//	offset  6  2 bytes  zero
//	offset  8  4 bytes  length of the JSON, little endian
//	offset 12  4 bytes  CRC32C of bytes 0 to 11 and of the body as stored, little endian
//	offset 16           body
//
// The JSON of a slot is an array of {"t": kind, "v": version, "d": record}. A record
// whose meaning changes takes the next version; a reader takes the current version
// and the one before, and refuses what is newer (ErrNewer) rather than fold it wrong.
// Fields may only be added when ignoring them is harmless. What the release before cannot read
// is written from a level of LevelFeature on, and a reader that does not support the level of a slot
// says so before it looks at the other records.
//
// Version 1 was that of a single broker. Version 2 of broker-registered opens a stream, that of
// leaders-changed and leadership-taken may have a tail, and a snapshot of version 2 has
// what comes of these and of the records that version 1 had not: fenced brokers,
// streams, tails and targets. What version 1 wrote has none of it. A snapshot of version 3
// has log starts and levels of features, one of version 4 idempotency keys. The kind audited came
// with it: what came before that is in no audit.
const (
	slotMagic  = "FBMS"
	imageMagic = "FBMI"
	headerSize = 16
	crcAt      = 12

	encodingPlain   = 0
	encodingDeflate = 1
	plainBelow      = 1 << 10 // bytes of JSON that are not worth compressing
	deflateBest     = 1032    // no stream of DEFLATE grows more than so many times
)

// frameVersions has the newest version for each magic; it is read, and so is each before it.
var frameVersions = map[string]byte{slotMagic: 1, imageMagic: 4}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends header and body.
func appendFrame(to []byte, magic string, version byte, body []byte) ([]byte, error) {
	encoding, stored := byte(encodingPlain), body
	if len(body) >= plainBelow {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, flate.DefaultCompression)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(body); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		encoding, stored = encodingDeflate, b.Bytes()
	}
	start := len(to)
	to = append(to, magic...)
	to = append(to, version, encoding, 0, 0)
	to = binary.LittleEndian.AppendUint32(to, uint32(len(body)))
	to = binary.LittleEndian.AppendUint32(to, frameCRC(to[start:], stored))
	return append(to, stored...), nil
}

func frameCRC(header, stored []byte) uint32 {
	return crc32.Update(crc32.Checksum(header[:crcAt], castagnoli), castagnoli, stored)
}

// decodeFrame returns the body.
func decodeFrame(magic string, b []byte) ([]byte, error) {
	version := frameVersions[magic]
	switch {
	case len(b) < headerSize:
		return nil, fmt.Errorf("%w: %d bytes, want at least %d", ErrCorrupt, len(b), headerSize)
	case string(b[:4]) != magic:
		return nil, fmt.Errorf("%w: magic %q, want %q", ErrCorrupt, b[:4], magic)
	case b[4] > version:
		return nil, fmt.Errorf("%w: version %d of the frame, this one knows %d", ErrNewer, b[4], version)
	case b[4] == 0 || b[5] > encodingDeflate || b[6] != 0 || b[7] != 0:
		return nil, fmt.Errorf("%w: header % x", ErrCorrupt, b[4:8])
	}
	length, crc, stored := uint64(binary.LittleEndian.Uint32(b[8:])), binary.LittleEndian.Uint32(b[crcAt:]), b[headerSize:]
	if got := frameCRC(b, stored); got != crc {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, crc)
	}
	if b[5] == encodingPlain {
		if length != uint64(len(stored)) {
			return nil, fmt.Errorf("%w: %d bytes, want %d", ErrCorrupt, len(stored), length)
		}
		return stored, nil
	}
	return inflate(stored, length)
}

func inflate(stored []byte, length uint64) ([]byte, error) {
	if length > uint64(len(stored))*deflateBest {
		return nil, fmt.Errorf("%w: %d bytes cannot hold %d", ErrCorrupt, len(stored), length)
	}
	body := make([]byte, length)
	r := flate.NewReader(bytes.NewReader(stored))
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("%w: inflate: %w", ErrCorrupt, err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrCorrupt, length)
	}
	return body, nil
}

// envelope is a record within a slot.
type envelope struct {
	Kind    string          `json:"t"`
	Version int             `json:"v"`
	Data    json.RawMessage `json:"d"`
}

// recordTypes maps what marks a record to its Go type.
var recordTypes = func() map[kind]reflect.Type {
	types := map[kind]reflect.Type{}
	for _, r := range []Record{
		ClusterCreated{},
		TopicCreated{},
		TopicDeleted{},
		PartitionsAdded{},
		ConfigChanged{},
		BrokerRegistered{},
		BrokerRegisteredV1{},
		BrokerFenced{},
		BrokerRemoved{},
		StreamsReleased{},
		LeadersChanged{},
		LeadershipTaken{},
		TargetsSet{},
		ReplicasChanged{},
		LogStartsMoved{},
		FeatureFinalized{},
		ProducerIDsAllocated{},
		Audited{},
	} {
		types[r.kind()] = reflect.TypeOf(r)
	}
	for _, r := range []Record{LeadersChanged{}, LeadershipTaken{}} { // version 1 means the same, without a tail
		types[kind{r.kind().name, 1}] = reflect.TypeOf(r)
	}
	return types
}()

// EncodeSlot returns the payload of a slot that holds records.
func EncodeSlot(records []Record) ([]byte, error) {
	envelopes := make([]envelope, len(records))
	for i, r := range records {
		data, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("encode record %d, %s: %w", i, r.kind().name, err)
		}
		envelopes[i] = envelope{Kind: r.kind().name, Version: r.kind().version, Data: data}
	}
	body, err := json.Marshal(envelopes)
	if err != nil {
		return nil, fmt.Errorf("encode slot: %w", err)
	}
	return appendFrame(nil, slotMagic, frameVersions[slotMagic], body)
}

// DecodeSlot reads what EncodeSlot writes. It fails with ErrCorrupt or ErrNewer.
func DecodeSlot(payload []byte) ([]Record, error) { return decodeSlot(payload, LatestLevel) }

// decodeSlot is DecodeSlot for a process that supports levels up to most.
func decodeSlot(payload []byte, most int16) ([]Record, error) {
	body, err := decodeFrame(slotMagic, payload)
	if err != nil {
		return nil, err
	}
	var envelopes []envelope
	if err := json.Unmarshal(body, &envelopes); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	for _, e := range envelopes {
		if err := e.supported(most); err != nil {
			return nil, err
		}
	}
	records := make([]Record, len(envelopes))
	for i, e := range envelopes {
		if records[i], err = e.decode(); err != nil {
			return nil, fmt.Errorf("record %d, %q: %w", i, e.Kind, err)
		}
	}
	return records, nil
}

// supported fails with ErrNewer if the record sets a level above most.
func (e envelope) supported(most int16) error {
	var f FeatureFinalized
	if e.Kind != f.kind().name || json.Unmarshal(e.Data, &f) != nil || f.Name != LevelFeature {
		return nil
	}
	return supported(f.Level, f.Since, most)
}

func (e envelope) decode() (Record, error) {
	t, known := recordTypes[kind{e.Kind, e.Version}]
	switch {
	case !known && e.Version < 1:
		return nil, fmt.Errorf("%w: version %d of the record", ErrCorrupt, e.Version)
	case !known:
		return nil, fmt.Errorf("%w: version %d of the record", ErrNewer, e.Version)
	}
	v := reflect.New(t)
	if err := json.Unmarshal(e.Data, v.Interface()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	r, ok := v.Elem().Interface().(Record)
	if !ok {
		return nil, fmt.Errorf("decode record: %v is none", t) // recordTypes has only Records
	}
	return r, nil
}
