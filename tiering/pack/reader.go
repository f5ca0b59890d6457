package pack

import (
	"context"

	"github.com/forebaylog/forebay/infra/id"
)

// Run returns the run of a partition.
func (f *Footer) Run(p id.Partition) (*Run, bool) { panic("next commit") }

// Find returns the last index entry at or below o, from where a reader comes to the
// batch that holds o. It is the first entry if o lies below the run.
func (r *Run) Find(o id.Offset) IndexEntry { panic("next commit") }

// FindTime returns the index entry from where a reader comes to the run's first record of
// time ms (milliseconds since 1970) or later; ok is false if there is none.
func (r *Run) FindTime(ms int64) (e IndexEntry, ok bool) { panic("next commit") }

// ReadFooter reads the footer of an object of size bytes with one or two reads.
func ReadFooter(ctx context.Context, r RangeReader, size int64) (*Footer, error) { panic("next commit") }

// DecodeFooter decodes the end of an object: footer and trailer.
func DecodeFooter(b []byte) (*Footer, error) { panic("next commit") }

// Verify reads a whole object and returns nil or a *CorruptError for the first thing that is wrong.
func Verify(ctx context.Context, r RangeReader, size int64) error { panic("next commit") }
