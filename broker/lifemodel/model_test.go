package lifemodel

import (
	"slices"

	"github.com/forebaylog/forebay/infra/id"
)

// fate is what has become of a record's transaction.
type fate int

const (
	committed fate = iota // or of no transaction
	open
	aborted
	marker // no record but the end of a transaction
)

// record is one offset of a partition as it was appended.
type record struct {
	offset   id.Offset
	time     int64 // ms
	appended int64 // ms by the node's clock
	key      string
	value    []byte // nil: a tombstone
	producer id.Producer
	fate     fate
	first    id.Offset // of a marker: where its transaction began, or its own offset if it had none
}

// topic is a topic and its policy.
type topic struct {
	name           string
	id             id.Topic
	compact        bool
	delete         bool
	retention      int64 // ms, -1: none
	retentionBytes int64 // -1: none
	tombstones     int64 // delete.retention.ms
	parts          []*part
}

// part is one partition: all that was ever appended to it, whose index is its offset.
type part struct {
	topic    *topic
	id       id.Partition
	log      []record
	start    id.Offset
	open     map[id.Producer]id.Offset // where open transactions began
	epoch    map[id.Producer]int16
	sequence map[id.Producer]int32
	last     map[id.Producer]sent // the last batch of an idempotent producer
	gone     map[id.Offset]bool   // what a reader has found removed
	copied   [][2]id.Offset       // where a merge may have put back what was removed
}

// sent is a batch that can be sent again.
type sent struct {
	records  []record
	sequence int32
	base     id.Offset
}

func newPart(t *topic, index int32) *part {
	return &part{
		topic: t, id: id.Partition{Topic: t.id, Index: index}, open: map[id.Producer]id.Offset{}, epoch: map[id.Producer]int16{},
		sequence: map[id.Producer]int32{}, last: map[id.Producer]sent{}, gone: map[id.Offset]bool{},
	}
}

// mayReturn reports whether what a reader has found removed may be there again.
func (p *part) mayReturn(at id.Offset) bool {
	return slices.ContainsFunc(p.copied, func(r [2]id.Offset) bool { return r[0] <= at && at < r[1] })
}

func (p *part) end() id.Offset { return id.Offset(len(p.log)) }

// stable is the last stable offset, by Kafka's rule.
func (p *part) stable() id.Offset {
	stable := p.end()
	for _, first := range p.open {
		stable = min(stable, first)
	}
	return max(stable, p.start)
}

// add takes in a batch that was appended.
func (p *part) add(producer id.Producer, records []record, transactional bool) {
	base := p.end()
	for _, r := range records {
		r.offset, r.producer = p.end(), producer
		if transactional {
			r.fate = open
		}
		p.log = append(p.log, r)
	}
	if producer == id.NoProducer {
		return
	}
	if transactional {
		if _, is := p.open[producer]; !is {
			p.open[producer] = base
		}
	} else {
		p.last[producer] = sent{records: records, sequence: p.sequence[producer], base: base}
	}
	p.sequence[producer] += int32(len(records))
}

// mark ends the transaction of a producer by a marker at the end of the log.
func (p *part) mark(producer id.Producer, commit bool, now int64) {
	m := record{offset: p.end(), time: now, appended: now, producer: producer, fate: marker, first: p.end()}
	if first, is := p.open[producer]; is {
		m.first = first
		for i := range p.log[first:] {
			r := &p.log[int(first)+i]
			switch {
			case r.producer != producer || r.fate != open:
			case commit:
				r.fate = committed
			default:
				r.fate = aborted
			}
		}
		delete(p.open, producer)
	}
	p.log = append(p.log, m)
}

// mayBeGone says why a record at or above the log start may be missing at the time now (ms), where
// what lies below sealed is in the chain; "" if it must be there. These are Kafka's rules (KIP-534):
// what the cleaner removes has a newer record of its key, or was aborted; a tombstone and a
// marker stay for delete.retention.ms after the first time that the cleaner met them.
func (p *part) mayBeGone(r record, sealed id.Offset, now int64) string {
	limit := min(sealed, p.stable())
	expired := now >= r.appended+p.topic.tombstones
	switch {
	case !p.topic.compact || r.offset >= limit:
		return ""
	case r.fate == aborted:
		return "aborted"
	case r.fate == marker && expired:
		return "expired marker"
	case r.fate == marker || r.fate == open:
		return ""
	case r.value == nil && expired:
		return "expired tombstone"
	}
	newer := slices.ContainsFunc(p.log[r.offset+1:limit], func(n record) bool { return n.fate == committed && n.key == r.key })
	if newer {
		return "superseded"
	}
	return ""
}
