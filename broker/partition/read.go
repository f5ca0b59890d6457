package partition

import (
	"context"
	"fmt"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// Fetched is what a read returns: whole batches, shared and not to be written to.
type Fetched struct {
	Watermarks
	Batches [][]byte
	Bytes   int // length of all batches
	// Aborted are the aborted transactions that overlap the batches, of a read of what is
	// committed: their records are to be left out.
	Aborted []producers.AbortedTxn
	// More tells that there are offsets behind the batches which could be read at once: a read
	// ends at maxBytes, and also where its tier or its segment ends. Compaction may have left
	// nothing of them: then the next read returns none.
	More bool
}

// Read returns batches from the one that contains offset from, or else the next one that
// compaction has left, up to the high watermark or, with committed, the last stable offset. At
// least one batch is returned if there is one, even above maxBytes. An offset equal to the high
// watermark gives no batches and no error; another one outside the log fails with
// ErrOutOfRange. Bytes that fail their checksum are an error, never returned.
func (l *Log) Read(ctx context.Context, from id.Offset, maxBytes int, committed bool) (Fetched, error) {
	w := l.Watermarks()
	f := Fetched{Watermarks: w}
	if from < w.Start || from > w.High {
		return f, fmt.Errorf("read %s at %d: %w [%d, %d]", l.id, from, ErrOutOfRange, w.Start, w.High)
	}
	limit := w.High
	if committed {
		limit = w.Stable
	}
	if from >= limit {
		return f, nil
	}
	if err := l.learnCleaned(ctx, from); err != nil {
		return f, fmt.Errorf("read %s at %d: %w", l.id, from, err)
	}
	below := l.ColdBelow()
	batches, err := l.readOn(ctx, from, limit, maxBytes)
	if err != nil {
		return f, fmt.Errorf("read %s at %d: %w", l.id, from, err)
	}
	f.Batches = batches
	for _, b := range batches {
		f.Bytes += len(b)
	}
	if n := len(batches); n > 0 {
		last, err := batch.ParseHeader(batches[n-1])
		if err != nil {
			return f, fmt.Errorf("read %s at %d: %w", l.id, from, err)
		}
		f.More = last.NextOffset() < limit
		if committed {
			f.Aborted, err = l.abortedIn(ctx, from, last.NextOffset())
		}
		if err != nil {
			return Fetched{Watermarks: w}, fmt.Errorf("read %s at %d: %w", l.id, from, err)
		}
	}
	if now := l.ColdBelow(); committed && now != below && from < now { // what is told of transactions is not of these batches
		return l.Read(ctx, from, maxBytes, committed)
	}
	return f, nil
}
