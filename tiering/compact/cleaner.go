package compact

import (
	"fmt"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// Rules are what a Cleaner goes by.
type Rules struct {
	Keys  *KeyMap   // sealed
	Dirty id.Offset // the map begins here: what lies below has lost all that has a newer record below
	End   id.Offset // the map holds all keys below it; what lies from there on is kept
	// Last is the last offset of the chain. The record there stays, for it may be the log's last: see Clean.
	Last id.Offset

	Aborted []producers.AbortedTxn // all whose markers lie above the log start
	Now     time.Time              // of the pass
	// Horizon is when a tombstone may go that is gone over now.
	Horizon func() time.Time

	scratch *scratch // of Cleaners that take turns; nil: one of its own
}

// scratch is what batches are rebuilt in. It stays as large as the largest of them, decompressed and as rebuilt.
type scratch struct {
	builder *batch.Builder
	out     batch.View
}

// Cleaner takes out of batches what Kafka's log cleaner would. It is given the batches of a partition
// from the log start on, each once, in order, and keeps track of their transactions.
type Cleaner struct {
	rules   Rules
	txns    *transactions
	scratch *scratch
	keep    []bool
	stats   Counts
}

// Counts of records, batches and bytes, as in Kafka's CleanerStats.
type Counts struct {
	MessagesRead, MessagesRetained int64
	InvalidMessages                int64 // without a key
	BytesRead, BytesRetained       int64
}

// NewCleaner returns a Cleaner for one pass.
func NewCleaner(r Rules) *Cleaner {
	if r.scratch == nil {
		r.scratch = new(scratch)
	}
	return &Cleaner{rules: r, txns: newTransactions(r.Aborted), scratch: r.scratch}
}

// Counts returns what was done so far.
func (c *Cleaner) Counts() Counts { return c.stats }

// clone returns a Cleaner at the same place, which goes on by itself.
func (c *Cleaner) clone() *Cleaner {
	return &Cleaner{rules: c.rules, txns: c.txns.clone(), scratch: c.scratch, stats: c.stats}
}

// Clean returns what is left of v: v itself, untouched, if nothing has to change, a batch that is
// valid until the next call, or nil. A marker is kept until all batches of its transaction are gone, and
// then, as tombstones from the first pass on that goes over them, up to its horizon. That counts in the
// clean part only, and is set anew in the dirty one: there this pass may find what they hide.
//
// A record at Rules.Last stays, whatever it is, and so does a marker, until a pass finds others behind it. Kafka
// does the same, which never cleans its active segment, and clients count on it: those that commit the offset behind the
// last record that they were given would else never come to the end of a topic that is idle.
func (c *Cleaner) Clean(v batch.View) (batch.View, error) {
	out, err := c.clean(v)
	if err != nil {
		return nil, fmt.Errorf("compact the batch at offset %d: %w", v.BaseOffset(), err)
	}
	c.stats.BytesRead += int64(len(v))
	c.stats.MessagesRead += int64(v.Records())
	if out != nil {
		c.stats.BytesRetained += int64(len(out))
		c.stats.MessagesRetained += int64(out.Records())
	}
	return out, nil
}

func (c *Cleaner) clean(v batch.View) (batch.View, error) {
	discard, err := c.txns.discard(v)
	if err != nil {
		return nil, err
	}
	horizon, hasHorizon := v.DeleteHorizon()
	hasHorizon = hasHorizon && v.LastOffset() < c.rules.Dirty
	over := hasHorizon && horizon <= c.rules.Now.UnixMilli() || seeded.Enabled(seeded.Tombstones)
	needHorizon := false
	var s sifted
	switch {
	case v.IsControl() && (!discard || !over || v.LastOffset() == c.rules.Last): // a marker that stays
		if s = (sifted{kept: int(v.Records())}); s.kept > 0 {
			c.keep = append(c.keep[:0], true)
		}
		needHorizon = discard && !hasHorizon
	case !discard:
		if s, err = c.sift(v, over); err != nil {
			return nil, err
		}
		needHorizon = s.tombstones && !hasHorizon
	}
	switch {
	case s.kept == 0:
		return nil, nil
	case s.kept == int(v.Records()) && !needHorizon:
		return v, nil
	}
	return c.rebuild(v, needHorizon)
}

// sifted says what stays of a batch; which records, keep says.
type sifted struct {
	kept       int
	tombstones bool // among them
}

// sift decides of each record; over: the tombstones may go.
func (c *Cleaner) sift(v batch.View, over bool) (s sifted, err error) {
	c.keep = c.keep[:0]
	for r, err := range batch.Decode(v, 0) {
		if err != nil {
			return s, err
		}
		keep, err := c.stays(r, over)
		if err != nil {
			return s, err
		}
		c.keep = append(c.keep, keep)
		if keep {
			s.kept++
			s.tombstones = s.tombstones || r.Value == nil
		}
	}
	return s, nil
}

func (c *Cleaner) stays(r batch.Record, over bool) (bool, error) {
	switch {
	case r.Offset >= c.rules.End || r.Offset == c.rules.Last:
		return true, nil
	case r.Key == nil:
		c.stats.InvalidMessages++
		return false, nil
	}
	newest, ok, err := c.rules.Keys.Get(r.Key)
	if err != nil {
		return false, err
	}
	if ok && newest > r.Offset {
		return false, nil
	}
	return r.Value != nil || !over, nil
}

// rebuild makes the batch of the records that keep names.
func (c *Cleaner) rebuild(v batch.View, setHorizon bool) (batch.View, error) {
	s := c.scratch
	if s.builder == nil {
		s.builder = batch.Rebuild(v)
	} else {
		s.builder.Rebuild(v)
	}
	if setHorizon {
		s.builder.DeleteHorizon(c.rules.Horizon().UnixMilli())
	}
	i := 0
	for r, err := range batch.Decode(v, 0) {
		if err != nil {
			return nil, err
		}
		if c.keep[i] {
			s.builder.Keep(r)
		}
		i++
	}
	s.out = s.builder.BuildInto(s.out)
	return s.out, nil
}
