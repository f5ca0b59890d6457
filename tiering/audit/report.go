package audit

import (
	"cmp"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
)

// Report is what was looked at, how it is, and what it costs. docs/verify.md says what the fields mean.
type Report struct {
	Cluster       string    `json:"cluster"`
	Topics        int       `json:"topics"`
	Partitions    int       `json:"partitions"`
	Slots         int       `json:"metadata_slots"`
	Chains        int       `json:"chains"`
	Segments      int       `json:"segments"`       // items that count
	EmptySegments int       `json:"empty_segments"` // of those, which have no object
	SpareSegments int       `json:"spare_segments"` // items that wait for the collector
	GoneSegments  int       `json:"gone_segments"`  // items of topics that were deleted
	Records       int64     `json:"records"`        // in the segments that count
	Streams       int       `json:"streams"`
	StreamSlots   int       `json:"stream_slots"`
	Unsealed      int64     `json:"unsealed_records"` // offsets that only streams have
	Groups        int       `json:"groups"`
	GroupOffsets  int       `json:"group_offsets"`
	Pending       int       `json:"pending_offsets"` // groups with offsets of open transactions
	Transactional int       `json:"transactional_ids"`
	Objects       Objects   `json:"objects"`
	Cost          Cost      `json:"cost"`
	Damage        int       `json:"damage"`
	Harmless      int       `json:"harmless"`
	LeftOut       int       `json:"findings_left_out"` // harmless ones that are not among Findings
	Findings      []Finding `json:"findings"`
}

// Count is how many objects of a kind there are.
type Count struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (c *Count) add(size int64) {
	c.Objects++
	c.Bytes += max(size, 0)
}

// Objects says what each object is there for: each is in one of the first ten. Damaged ones
// are also in the count of what they are there for; missing ones are in no other.
type Objects struct {
	Packs     Count `json:"packs"`     // named by a segment that counts
	Spare     Count `json:"spare"`     // packs named only by items that wait for the collector
	WAL       Count `json:"wal"`       // named by a slot
	Indexes   Count `json:"indexes"`   // of streams, named by a slot
	Snapshots Count `json:"snapshots"` // of the metadata, in use
	Archive   Count `json:"archive"`   // slots of the metadata that snapshots have replaced: the audit
	Collector Count `json:"collector"` // marks of the collector
	Identity  Count `json:"identity"`  // say which cluster it is
	Orphans   Count `json:"orphans"`   // nothing names them; they wait for the collector
	Unknown   Count `json:"unknown"`   // not Forebay's, as far as can be told
	Missing   Count `json:"missing"`   // named, and not there
	Damaged   Count `json:"damaged"`
	Stored    Count `json:"stored"` // all there are
}

// Cost is what is stored for whom, and its price for a month.
type Cost struct {
	PricePerGiB  float64     `json:"price_per_gib_month"`
	Month        float64     `json:"month"`         // of all objects
	WaitingBytes int64       `json:"waiting_bytes"` // of objects that wait for the collector: spare ones and orphans
	WaitingMonth float64     `json:"waiting_month"`
	DeadBytes    int64       `json:"dead_bytes"` // in packs that count: runs that do not any more
	DeadMonth    float64     `json:"dead_month"`
	Topics       []TopicCost `json:"topics"` // the dearest first
}

// TopicCost is what one topic costs. The shares of all topics are the bytes of all packs that
// count and are whole: of each pack a topic has a share by its live bytes in it.
type TopicCost struct {
	Topic         string  `json:"topic"`
	ID            string  `json:"id"`
	Partitions    int     `json:"partitions"`
	Segments      int     `json:"segments"`
	SpareSegments int     `json:"spare_segments"`
	Records       int64   `json:"records"`
	LiveBytes     int64   `json:"live_bytes"`
	DeadBytes     int64   `json:"dead_bytes"` // runs in packs that count, which do not any more
	Objects       int     `json:"objects"`    // packs that it has live bytes in
	ShareBytes    int64   `json:"share_bytes"`
	Month         float64 `json:"month"`
}

// topic is called with mu held.
func (a *auditor) topic(t id.Topic) *TopicCost {
	c, ok := a.topics[t]
	if !ok {
		c = &TopicCost{Topic: a.topicName(t), ID: t.String()}
		a.topics[t] = c
	}
	return c
}

const gib = 1 << 30

// account sums up what was counted.
func (a *auditor) account() {
	c := &a.report.Cost
	c.PricePerGiB = a.cfg.PricePerGiB
	month := func(bytes int64) float64 { return float64(bytes) / gib * c.PricePerGiB }
	c.Month = month(a.report.Objects.Stored.Bytes)
	c.WaitingBytes = a.report.Objects.Spare.Bytes + a.report.Objects.Orphans.Bytes
	c.WaitingMonth = month(c.WaitingBytes)
	c.Topics = []TopicCost{}
	for _, t := range a.topics {
		t.Month = month(t.ShareBytes)
		c.DeadBytes += t.DeadBytes
		c.Topics = append(c.Topics, *t)
	}
	c.DeadMonth = month(c.DeadBytes)
	slices.SortFunc(c.Topics, func(s, t TopicCost) int {
		return cmp.Or(cmp.Compare(t.ShareBytes, s.ShareBytes), cmp.Compare(s.Topic, t.Topic), cmp.Compare(s.ID, t.ID))
	})
}
