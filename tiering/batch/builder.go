package batch

import "github.com/forebaylog/forebay/infra/id"

// Builder makes a batch out of records: for markers, commands and tests.
type Builder struct {
	codec Codec
}

// New starts a batch of no producer at offset 0.
func New(codec Codec) *Builder { return &Builder{codec: codec} }

// Add appends a record. Its Offset is not used: records get consecutive ones. Nothing of r is kept.
func (b *Builder) Add(r Record) *Builder { panic("next commit") }

// Base sets the offset of the first record.
func (b *Builder) Base(o id.Offset) *Builder { panic("next commit") }

// Epoch sets the leader epoch.
func (b *Builder) Epoch(e id.Epoch) *Builder { panic("next commit") }

// Producer sets the producer id, its epoch and the sequence number of the first record.
func (b *Builder) Producer(p id.Producer, epoch int16, sequence int32) *Builder { panic("next commit") }

// Transactional marks the batch as part of a transaction.
func (b *Builder) Transactional() *Builder { panic("next commit") }

// Build returns the batch. The Builder may be used on to add more records for a later Build.
func (b *Builder) Build() View { panic("next commit") }

// Marker is the content of a control batch: the end of a producer's transaction.
type Marker struct {
	Commit           bool // else abort
	CoordinatorEpoch int32
}

// NewMarker makes the control batch of a producer's transaction; ms is its time in milliseconds since 1970.
func NewMarker(m Marker, p id.Producer, epoch int16, ms int64) View { panic("next commit") }

// ParseMarker reads a control batch. ok is false for one that ends no transaction
// (of a type that is not known); an error is an ErrCorrupt.
func ParseMarker(v View) (m Marker, ok bool, err error) { panic("next commit") }
