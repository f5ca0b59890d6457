package batch_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// seeds adds batches of every codec and of a real client, whole and cut short.
func seeds(f *testing.F) {
	for codec, clientCodec := range clientCodecs {
		all := []batch.View{
			build(batch.New(codec), records(3)),
			build(batch.New(codec).Base(1<<40).Producer(5, 1, 1<<31-2).Transactional(), records(40)),
		}
		all = append(all, clientBatches(f, clientCodec, clientRecords()...)...)
		for _, v := range all {
			f.Add([]byte(v))
			f.Add([]byte(v[:len(v)-1]))
			f.Add([]byte(v[:len(v)/2]))
			f.Add(append(bytes.Clone(v), v...))
		}
	}
	f.Add([]byte(batch.NewMarker(batch.Marker{Commit: true}, 3, 2, 1)))
	f.Add([]byte{})
}

const fuzzLimit = 1 << 20

// FuzzParse: whatever the bytes, Parse returns an ErrCorrupt, or a view whose
// accessors agree with its bytes and a rest that together are the input.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, rest, err := batch.Parse(b)
		if err != nil {
			if !errors.Is(err, batch.ErrCorrupt) || len(rest) != len(b) {
				t.Fatalf("error %v with %d of %d bytes left", err, len(rest), len(b))
			}
			return
		}
		if v.Length() != len(v) || len(v)+len(rest) != len(b) || v.NextOffset() <= v.BaseOffset() || v.BaseOffset() < 0 {
			t.Fatalf("length %d, view %d, rest %d, offsets %d to %d", v.Length(), len(v), len(rest), v.BaseOffset(), v.NextOffset())
		}
		if v.Records() < 0 || v.LastSequence() < -1 {
			t.Fatalf("%d records, last sequence %d", v.Records(), v.LastSequence())
		}
		_, _, _ = batch.ParseMarker(v)
	})
}

// FuzzDecode: a decode ends, with at most Records() records of rising offsets within
// the batch and no payload beyond the limit, or with one of the package's errors.
func FuzzDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, _, err := batch.Parse(b)
		if err != nil {
			return
		}
		count, size, last := 0, 0, v.BaseOffset()-1
		for r, err := range batch.Decode(v, fuzzLimit) {
			if err != nil {
				mustBeOurs(t, err)
				return
			}
			count, size = count+1, size+len(r.Key)+len(r.Value)
			if r.Offset <= last || r.Offset > v.LastOffset() {
				t.Fatalf("offset %d after %d in a batch up to %d", r.Offset, last, v.LastOffset())
			}
			last = r.Offset
		}
		if count != int(v.Records()) || size > max(fuzzLimit, len(v)) {
			t.Fatalf("%d records of %d, %d bytes", count, v.Records(), size)
		}
	})
}

// FuzzValidateProduce: a batch that passes the deep rules, as it is or with its
// checksum set right, is one that readers parse, decodes to Records() records with contiguous offsets and still has a valid checksum.
func FuzzValidateProduce(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, _, err := batch.ParseSent(bytes.Clone(b))
		if err != nil {
			return
		}
		rules := batch.Rules{Deep: true, MaxBytes: fuzzLimit, DecodeLimit: fuzzLimit}
		if err := batch.ValidateProduce(reseal(v), rules); err != nil {
			mustBeOurs(t, err)
			return
		}
		if _, rest, err := batch.Parse(v); err != nil || len(rest) > 0 {
			t.Fatalf("%d bytes left, error %v", len(rest), err)
		}
		next := v.BaseOffset()
		newest := int64(-1)
		for r, err := range batch.Decode(v, fuzzLimit) {
			if err != nil || r.Offset != next {
				t.Fatalf("record at %d, want %d, error %v", r.Offset, next, err)
			}
			next, newest = next+1, max(newest, r.Timestamp)
		}
		if next != v.BaseOffset()+id.Offset(v.Records()) || next != v.NextOffset() {
			t.Fatalf("ended at %d, header says %d", next, v.NextOffset())
		}
		if newest != v.MaxTimestamp() || v.Verify() != nil {
			t.Fatalf("max timestamp %d, header says %d, checksum %v", newest, v.MaxTimestamp(), v.Verify())
		}
	})
}

func mustBeOurs(t *testing.T, err error) {
	for _, ours := range []error{batch.ErrCorrupt, batch.ErrTooLarge, batch.ErrUnsupportedCodec, batch.ErrInvalidRecord, batch.ErrInvalidTimestamp} {
		if errors.Is(err, ours) {
			return
		}
	}
	t.Fatalf("error that no caller can tell: %v", err)
}
