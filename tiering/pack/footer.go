package pack

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
)

// Run returns the run of a partition.
func (f *Footer) Run(p id.Partition) (*Run, bool) {
	i, ok := slices.BinarySearchFunc(f.order, p, func(i int32, p id.Partition) int { return f.Runs[i].Partition.Compare(p) })
	if !ok {
		return nil, false
	}
	return &f.Runs[f.order[i]], true
}

// index fills order; a partition with two runs is an error.
func (f *Footer) index() error {
	f.order = make([]int32, len(f.Runs))
	for i := range f.order {
		f.order[i] = int32(i)
	}
	slices.SortFunc(f.order, func(a, b int32) int { return f.Runs[a].Partition.Compare(f.Runs[b].Partition) })
	for i := 1; i < len(f.order); i++ {
		if p := f.Runs[f.order[i]].Partition; p == f.Runs[f.order[i-1]].Partition {
			return fmt.Errorf("partition %s has two runs", p)
		}
	}
	return nil
}

// Find returns the last index entry at or below o, from where a reader comes to the
// batch that holds o, or else to the one that follows. It is the first entry if o lies below the
// first batch.
func (r *Run) Find(o id.Offset) IndexEntry {
	i, exact := slices.BinarySearchFunc(r.Index, o, func(e IndexEntry, o id.Offset) int { return cmp.Compare(e.Offset, o) })
	if !exact && i > 0 {
		i--
	}
	return r.Index[i]
}

// FindTime returns the index entry from where a reader comes to the run's first record of
// time ms (milliseconds since 1970) or later; ok is false if there is none.
func (r *Run) FindTime(ms int64) (e IndexEntry, ok bool) {
	i, _ := slices.BinarySearchFunc(r.Index, ms, func(e IndexEntry, ms int64) int { return cmp.Compare(e.MaxTimestamp, ms) })
	if i == len(r.Index) {
		return IndexEntry{}, false
	}
	return r.Index[i], true
}

// EpochAt returns the leader epoch of the batch whose base offset is o.
func (r *Run) EpochAt(o id.Offset) id.Epoch { return epochAt(r.Epochs, o) }

// appendTo appends the encoded footer, without the trailer, to b.
//
//	| header length | header | topic count | topic ids… | run count | runs… |
func (f *Footer) appendTo(b []byte) []byte {
	header := f.Header.AppendTo(nil)
	b = binary.AppendUvarint(b, uint64(len(header)))
	b = append(b, header...)

	numbers := map[id.Topic]int{}
	var topics []byte
	for i := range f.Runs {
		topic := f.Runs[i].Partition.Topic
		if _, ok := numbers[topic]; !ok {
			numbers[topic] = len(numbers)
			topics = append(topics, topic[:]...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(numbers)))
	b = append(b, topics...)
	b = binary.AppendUvarint(b, uint64(len(f.Runs)))
	for i := range f.Runs {
		r := &f.Runs[i]
		b = r.appendTo(b, numbers[r.Partition.Topic], f.Created.UnixMilli())
	}
	return b
}

// appendTo appends an encoded run.
//
//	| topic | partition | base | offsets | length | records | max timestamp | crc | kind |
//	| epochs… | index… | aborted… | producers… |
func (r *Run) appendTo(b []byte, topic int, created int64) []byte {
	b = binary.AppendUvarint(b, uint64(topic))
	b = binary.AppendUvarint(b, uint64(r.Partition.Index))
	b = binary.AppendUvarint(b, uint64(r.Base))
	b = binary.AppendUvarint(b, uint64(r.Next-r.Base))
	b = binary.AppendUvarint(b, uint64(r.Length))
	b = binary.AppendUvarint(b, uint64(r.Records))
	b = binary.AppendVarint(b, r.MaxTimestamp-created)
	b = binary.LittleEndian.AppendUint32(b, r.CRC)
	if r.Sparse {
		b = append(b, kindSparse)
	} else {
		b = append(b, kindDense)
	}
	b = r.appendEpochs(b)
	b = r.appendIndex(b)
	b = binary.AppendUvarint(b, uint64(len(r.Aborted)))
	for _, a := range r.Aborted {
		b = binary.AppendVarint(b, int64(a.Producer))
		b = binary.AppendUvarint(b, uint64(a.Last-r.Base))
		b = binary.AppendVarint(b, int64(a.Last-a.First))
		b = binary.AppendVarint(b, int64(a.Stable-a.First))
	}
	b = binary.AppendUvarint(b, uint64(len(r.Producers)))
	for _, s := range r.Producers {
		b = s.AppendTo(b)
	}
	return b
}

func (r *Run) appendEpochs(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(r.Epochs)))
	epoch := id.Epoch(0)
	for i, e := range r.Epochs {
		b = binary.AppendVarint(b, int64(e.Epoch)-int64(epoch))
		epoch = e.Epoch
		switch {
		case i > 0:
			b = binary.AppendUvarint(b, uint64(e.Start-r.Epochs[i-1].Start))
		case r.Sparse:
			b = binary.AppendUvarint(b, uint64(e.Start-r.Base))
		}
	}
	return b
}

func (r *Run) appendIndex(b []byte) []byte {
	n := len(r.Index) - 1
	b = binary.AppendUvarint(b, uint64(n))
	if r.Sparse {
		b = binary.AppendUvarint(b, uint64(r.Index[0].Offset-r.Base))
	}
	for i := range n {
		at, next := r.Index[i], r.Index[i+1]
		b = binary.AppendUvarint(b, uint64(next.Offset-at.Offset))
		b = binary.AppendUvarint(b, uint64(next.Pos-at.Pos))
	}
	for i := n - 1; i >= 0; i-- {
		b = binary.AppendUvarint(b, uint64(r.Index[i+1].MaxTimestamp-r.Index[i].MaxTimestamp))
	}
	for _, sum := range r.Heads {
		b = binary.LittleEndian.AppendUint32(b, sum)
	}
	return b
}
