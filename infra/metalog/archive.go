package metalog

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/slotlog"
)

// Slots that a snapshot replaces are what the audit is in. Before they are truncated they are stored as
// objects, the archive, in which nothing but History looks. The slots of an object follow each other;
// two objects may have some of the same slots, which are then the same.
//
// Commit point of an object of the archive: its Put. A crash before it leaves the slots in the log; a
// crash after it, and before the slots are truncated, leaves them in both, and the next one to
// truncate finds the object. So no slot is in neither.
//
// An object of the archive:
//
//	offset  0  4 bytes  magic: "FBMA"
//	offset  4  1 byte   version: 1
//	offset  5  3 bytes  zero
//	offset  8  4 bytes  number of slots, little endian, as all that follows
//	offset 12  4 bytes  CRC32C of bytes 0 to 11 and of all from 16 on
//	offset 16  8 bytes  sequence of the first slot
//	offset 24           for each slot: 4 bytes length of its payload, the payload
const (
	archiveMagic   = "FBMA"
	archiveVersion = 1
	archiveHeader  = headerSize + 8
)

// ArchivePrefix begins the names of the archive's objects in the object store. It is followed by the
// sequences of the first and the last slot, in 20 digits, and a random part, with "-" in between.
const ArchivePrefix = objectPrefix + "archive/"

const (
	archiveBytes  = 8 << 20   // of payloads, about, in one object
	maxArchive    = 256 << 20 // bytes of an object that is read
	archiveDigits = 20
)

// IsArchive reports whether it is the name of an object of the archive.
func IsArchive(object string) bool {
	_, _, ok := archiveRange(object)
	return ok
}

// archiveRange reads the first and the last slot from a name.
func archiveRange(object string) (first, last uint64, ok bool) {
	name, ok := strings.CutPrefix(object, ArchivePrefix)
	parts := strings.SplitN(name, "-", 3)
	if !ok || len(parts) != 3 || len(parts[0]) != archiveDigits || len(parts[1]) != archiveDigits || parts[2] == "" {
		return 0, 0, false
	}
	first, err := strconv.ParseUint(parts[0], 10, 64)
	last, err2 := strconv.ParseUint(parts[1], 10, 64)
	return first, last, err == nil && err2 == nil && first > 0 && first <= last
}

// encodeArchive returns the object that has the slots, which follow each other.
func encodeArchive(slots []slotlog.Slot) []byte {
	b := append([]byte(archiveMagic), archiveVersion, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(slots)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, slots[0].Seq)
	for _, s := range slots {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s.Payload)))
		b = append(b, s.Payload...)
	}
	binary.LittleEndian.PutUint32(b[crcAt:], frameCRC(b, b[headerSize:]))
	return b
}

// decodeArchive reads what encodeArchive writes; the payloads share b. It fails with ErrCorrupt or ErrNewer.
func decodeArchive(b []byte) ([]slotlog.Slot, error) {
	switch {
	case len(b) < archiveHeader:
		return nil, fmt.Errorf("%w: %d bytes, want at least %d", ErrCorrupt, len(b), archiveHeader)
	case string(b[:4]) != archiveMagic:
		return nil, fmt.Errorf("%w: magic %q, want %q", ErrCorrupt, b[:4], archiveMagic)
	case b[4] > archiveVersion:
		return nil, fmt.Errorf("%w: version %d of the archive, this one knows %d", ErrNewer, b[4], archiveVersion)
	case b[4] == 0 || b[5] != 0 || b[6] != 0 || b[7] != 0:
		return nil, fmt.Errorf("%w: header % x", ErrCorrupt, b[4:8])
	}
	if got, crc := frameCRC(b, b[headerSize:]), binary.LittleEndian.Uint32(b[crcAt:]); got != crc {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, crc)
	}
	count, seq, rest := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint64(b[headerSize:]), b[archiveHeader:]
	if uint64(count)*4 > uint64(len(rest)) || seq == 0 || seq+uint64(count) < seq {
		return nil, fmt.Errorf("%w: %d slots from %d on in %d bytes", ErrCorrupt, count, seq, len(rest))
	}
	slots := make([]slotlog.Slot, 0, count)
	for range count {
		if len(rest) < 4 || uint64(binary.LittleEndian.Uint32(rest)) > uint64(len(rest)-4) {
			return nil, fmt.Errorf("%w: slot %d of the archive is cut off", ErrCorrupt, seq)
		}
		n := int(binary.LittleEndian.Uint32(rest))
		slots = append(slots, slotlog.Slot{Seq: seq, Payload: rest[4 : 4+n : 4+n]})
		rest = rest[4+n:]
		seq++
	}
	if len(rest) > 0 || count == 0 {
		return nil, fmt.Errorf("%w: %d bytes behind %d slots", ErrCorrupt, len(rest), count)
	}
	return slots, nil
}

// archive stores the slots below before, as far as the archive has them not yet.
func (r *reader) archive(ctx context.Context, before uint64) error {
	next, err := r.slots.First(ctx)
	if err != nil {
		return fmt.Errorf("archive metadata: %w", err)
	}
	next = max(next, 1)
	from := ArchivePrefix + fmt.Sprintf("%0*d", archiveDigits, next) // what begins below was truncated, too
	for info, err := range r.snapshots.objects.List(ctx, ArchivePrefix, from) {
		if err != nil {
			return fmt.Errorf("archive metadata: %w", err)
		}
		if first, last, ok := archiveRange(info.Key); ok && first <= next {
			next = max(next, last+1)
		}
	}
	for next < before {
		slots, err := r.toArchive(ctx, next, before)
		if errors.Is(err, slotlog.ErrTruncated) {
			return nil // by another, who has stored them
		}
		if err != nil {
			return fmt.Errorf("archive metadata: %w", err)
		}
		last := slots[len(slots)-1].Seq
		key := fmt.Sprintf("%s%0*d-%0*d-%s", ArchivePrefix, archiveDigits, next, archiveDigits, last, rand.Text())
		if err := r.snapshots.objects.Put(ctx, key, bytes.NewReader(encodeArchive(slots))); err != nil {
			return fmt.Errorf("archive metadata: %w", err)
		}
		next = last + 1
	}
	return nil
}

// toArchive reads slots for one object, from next on.
func (r *reader) toArchive(ctx context.Context, next, before uint64) (slots []slotlog.Slot, err error) {
	for size := 0; next < before && size < archiveBytes; {
		raw, err := r.slots.Read(ctx, next, int(min(readBatch, before-next)))
		if err != nil {
			return nil, err
		}
		if len(raw) == 0 || raw[0].Seq != next {
			return nil, fmt.Errorf("%w: slot %d is missing", ErrCorrupt, next)
		}
		for _, s := range raw {
			if s.Seq != next {
				break // a gap, which the next read finds
			}
			slots, size = append(slots, s), size+len(s.Payload)
			next++
		}
	}
	return slots, nil
}

// History reads up to limit slots (0: all) from the version from on, those of the archive and those of the
// log, in order. It begins later where the archive does, and leaves out what is in neither: what was
// truncated before there was an archive, or has been kept for long enough. It writes nothing.
func History(ctx context.Context, store kv.Store, objects objstore.Store, from uint64, limit int) ([]Slot, error) {
	log := slotlog.Open(store, stream)
	var slots []Slot
	next := max(from, 1)
	full := func() bool { return limit > 0 && len(slots) >= limit }
	take := func(raw []slotlog.Slot) error {
		for _, s := range raw {
			if s.Seq < next || full() {
				continue
			}
			slot, err := decodeRaw(s, LatestLevel)
			if err != nil {
				return err
			}
			slots, next = append(slots, slot), s.Seq+1
		}
		return nil
	}
	for {
		first, err := log.First(ctx)
		if err != nil {
			return slots, fmt.Errorf("read the history of the metadata: %w", err)
		}
		if next < first {
			if err := readArchive(ctx, objects, func() (uint64, bool) { return next, !full() }, take); err != nil {
				return slots, fmt.Errorf("read the history of the metadata: %w", err)
			}
		}
		if full() {
			return slots, nil
		}
		next = max(next, first)
		left := 0
		if limit > 0 {
			left = limit - len(slots)
		}
		raw, err := log.Read(ctx, next, left)
		if errors.Is(err, slotlog.ErrTruncated) {
			continue // and in the archive by now
		}
		if err == nil {
			err = take(raw)
		}
		if err != nil {
			return slots, fmt.Errorf("read the history of the metadata: %w", err)
		}
		return slots, nil
	}
}

// readArchive gives take the slots of the objects that have any from wanted's on, until wanted says that
// it is enough.
func readArchive(ctx context.Context, objects objstore.Store, wanted func() (next uint64, more bool), take func([]slotlog.Slot) error) error {
	for info, err := range objects.List(ctx, ArchivePrefix, "") {
		if err != nil {
			return err
		}
		_, last, ok := archiveRange(info.Key)
		next, more := wanted()
		if !more {
			return nil
		}
		if !ok || last < next {
			continue
		}
		slots, err := readArchived(ctx, objects, info)
		if errors.Is(err, objstore.ErrNotFound) {
			continue // kept for long enough, a moment ago
		}
		if err != nil {
			return err
		}
		if err := take(slots); err != nil {
			return err
		}
	}
	return nil
}

// readArchived reads an object of the archive.
func readArchived(ctx context.Context, objects objstore.Store, info objstore.Info) ([]slotlog.Slot, error) {
	first, last, ok := archiveRange(info.Key)
	if !ok || info.Size > maxArchive {
		return nil, fmt.Errorf("read %s: %w: %d bytes", info.Key, ErrCorrupt, info.Size)
	}
	b := make([]byte, info.Size)
	n, err := objects.ReadAt(ctx, info.Key, b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	slots, err := decodeArchive(b[:n])
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", info.Key, err)
	}
	if slots[0].Seq != first || slots[len(slots)-1].Seq != last {
		return nil, fmt.Errorf("read %s: %w: slots %d to %d", info.Key, ErrCorrupt, slots[0].Seq, slots[len(slots)-1].Seq)
	}
	return slots, nil
}

// CheckArchived reads an object of the archive and decodes all that is in it. It fails with ErrCorrupt,
// ErrNewer or what the store fails with.
func CheckArchived(ctx context.Context, objects objstore.Store, info objstore.Info) error {
	slots, err := readArchived(ctx, objects, info)
	if err != nil {
		return err
	}
	for _, s := range slots {
		if _, err := decodeRaw(s, LatestLevel); err != nil {
			return fmt.Errorf("read %s: %w", info.Key, err)
		}
	}
	return nil
}

// ArchivedSince returns a version from which on History has all that was appended at t or later, as
// far as clocks agree within an hour: objects of the archive that are older are left out.
func ArchivedSince(ctx context.Context, objects objstore.Store, t time.Time) (uint64, error) {
	from := uint64(1)
	for info, err := range objects.List(ctx, ArchivePrefix, "") {
		if err != nil {
			return 0, fmt.Errorf("look for metadata since %v: %w", t, err)
		}
		if _, last, ok := archiveRange(info.Key); ok && info.Modified.Before(t.Add(-time.Hour)) {
			from = max(from, last+1)
		}
	}
	return from, nil
}

// AuditEntry is a change that somebody asked for.
type AuditEntry struct {
	Slot    uint64 // the version of the Image that has it first
	Index   int    // of the Audited among the records of the slot
	Audited Audited
	Changes []Record // what it explains
}

// Audit returns the changes in the slot that somebody asked for, in order.
func (s Slot) Audit() []AuditEntry {
	var entries []AuditEntry
	for i, r := range s.Records {
		a, ok := r.(Audited)
		if !ok {
			continue
		}
		changes := s.Records[i+1:]
		entries = append(entries, AuditEntry{Slot: s.Seq, Index: i, Audited: a, Changes: changes[:min(max(a.Records, 0), len(changes))]})
	}
	return entries
}
