package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Errors of a stored Snapshot.
var (
	// ErrSnapshotCorrupt: the bytes are not what AppendTo writes.
	ErrSnapshotCorrupt = errors.New("group snapshot damaged")
	// ErrSnapshotNewer: a newer Forebay wrote the snapshot. Upgrade this one.
	ErrSnapshotNewer = errors.New("group snapshot written by a newer Forebay")
)

// The form of a Snapshot: one byte, the version; then, compressed by zstd, its fields in their
// order. Numbers are signed varints, times are ms since 1970 and durations ms, texts and
// bytes have their length before them, lists their count; an instance id is a list of none or one.
const snapshotVersion = 1

// maxSnapshot is the largest Snapshot in bytes before compression.
const maxSnapshot = 64 << 20

// Both are safe for concurrent use, and options that are constant do not fail.
var (
	snapshotEncoder, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	snapshotDecoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxSnapshot))
)

// AppendTo appends the encoded Snapshot.
func (s Snapshot) AppendTo(to []byte) []byte {
	var b []byte
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	text := func(s string) { number(int64(len(s))); b = append(b, s...) }
	number(int64(s.Generation))
	text(s.ProtocolType)
	text(s.Protocol)
	text(s.Leader)
	number(s.Since.UnixMilli())
	number(int64(len(s.Members)))
	for _, m := range s.Members {
		text(m.ID)
		if m.Instance == nil {
			number(0)
		} else {
			number(1)
			text(*m.Instance)
		}
		text(m.ClientID)
		text(m.ClientHost)
		number(m.Session.Milliseconds())
		number(max(m.Rebalance.Milliseconds(), 0)) // clients may have told -1
		number(int64(len(m.Protocols)))
		for _, p := range m.Protocols {
			text(p.Name)
			text(string(p.Metadata))
		}
		text(string(m.Assignment))
	}
	return snapshotEncoder.EncodeAll(b, append(to, snapshotVersion))
}

// DecodeSnapshot reads what AppendTo wrote. It fails with ErrSnapshotCorrupt or ErrSnapshotNewer.
func DecodeSnapshot(b []byte) (Snapshot, error) {
	switch {
	case len(b) == 0 || b[0] == 0:
		return Snapshot{}, fmt.Errorf("%w: %d bytes without a version", ErrSnapshotCorrupt, len(b))
	case b[0] > snapshotVersion:
		return Snapshot{}, fmt.Errorf("%w: version %d, this one knows %d", ErrSnapshotNewer, b[0], snapshotVersion)
	}
	body, err := snapshotDecoder.DecodeAll(b[1:], nil)
	if err != nil {
		return Snapshot{}, fmt.Errorf("%w: %w", ErrSnapshotCorrupt, err)
	}
	d := snapshotReader{b: body}
	s := Snapshot{Generation: int32(d.number(math.MaxInt32)), ProtocolType: d.text(), Protocol: d.text(), Leader: d.text(), Since: d.time()}
	for range d.count() {
		m := MemberSnapshot{ID: d.text()}
		if d.number(1) == 1 {
			m.Instance = new(d.text())
		}
		m.ClientID, m.ClientHost = d.text(), d.text()
		m.Session, m.Rebalance = d.duration(), d.duration()
		for range d.count() {
			m.Protocols = append(m.Protocols, Protocol{Name: d.text(), Metadata: []byte(d.text())})
		}
		m.Assignment = []byte(d.text())
		s.Members = append(s.Members, m)
	}
	if d.failed || len(d.b) > 0 {
		return Snapshot{}, fmt.Errorf("%w: %d bytes left", ErrSnapshotCorrupt, len(d.b))
	}
	return s, nil
}

// snapshotReader reads fields; after the first failure everything is zero.
type snapshotReader struct {
	b      []byte
	failed bool
}

// number reads a number from 0 to most.
func (d *snapshotReader) number(most int64) int64 {
	n, size := binary.Varint(d.b)
	if d.failed || size <= 0 || n < 0 || n > most {
		d.failed = true
		return 0
	}
	d.b = d.b[size:]
	return n
}

// count reads how many follow, each of at least one byte.
func (d *snapshotReader) count() int64 { return d.number(int64(len(d.b))) }

func (d *snapshotReader) text() string {
	n := d.number(int64(len(d.b)))
	if d.failed || n > int64(len(d.b)) {
		d.failed = true
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *snapshotReader) duration() time.Duration {
	return time.Duration(d.number(math.MaxInt32)) * time.Millisecond
}

func (d *snapshotReader) time() time.Time { return time.UnixMilli(d.number(1 << 53)).UTC() }
