package pack

import (
	"io"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// Writer streams one object: for each run BeginRun, Append…, EndRun, then Close.
// After an error every further call returns it.
type Writer struct{}

// NewWriter starts an object; its header is written with the first run.
func NewWriter(w io.Writer, h Header) *Writer { panic("next commit") }

// BeginRun starts the run of a partition, of which there is one in an object.
func (w *Writer) BeginRun(p id.Partition) error { panic("next commit") }

// Append adds a batch that must begin where the last one of the run ended. Its checksum is verified.
func (w *Writer) Append(v batch.View) error { panic("next commit") }

// EndRun ends a run of at least one batch with the partition's producers as of its
// end and the transactions whose abort markers are in it.
func (w *Writer) EndRun(states []producers.State, aborted []AbortedTxn) error { panic("next commit") }

// Size is the number of bytes written so far.
func (w *Writer) Size() int64 { panic("next commit") }

// Close writes the footer and returns it. The underlying writer stays open.
func (w *Writer) Close() (*Footer, error) { panic("next commit") }
