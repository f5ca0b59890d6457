package collect

import (
	"strings"
	"time"

	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/wal"
)

// Count is a number of objects and the bytes in them.
type Count struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (c *Count) add(size int64) {
	c.Objects++
	c.Bytes += size
}

func (c *Count) addAll(d Count) {
	c.Objects += d.Objects
	c.Bytes += d.Bytes
}

// Tally is what became of the objects of a kind. Superfluous are those that this look found
// so; Removed are some of these.
type Tally struct {
	Kept        Count `json:"kept"`
	Superfluous Count `json:"superfluous"`
	Removed     Count `json:"removed"`
}

// Items is what became of items of the table.
type Items struct {
	Kept        int64 `json:"kept"`
	Superfluous int64 `json:"superfluous"`
	Removed     int64 `json:"removed"`
}

// Damage is something that could not be read, because of which other things were kept.
type Damage struct {
	Place string `json:"place"`
	Error string `json:"error"`
}

// Report is what a run has found and done.
type Report struct {
	Look      string    `json:"look"`  // name of its marks
	Began     time.Time `json:"began"` // by the object store's clock
	Packs     Tally     `json:"packs"`
	WAL       Tally     `json:"wal"` // WAL objects and indexes of streams
	Snapshots Tally     `json:"snapshots"`
	Archive   Tally     `json:"archive"` // slots of the metadata that snapshots have replaced: the audit
	Marks     Tally     `json:"marks"`   // the collector's own: Kept is what it has written
	Dead      Count     `json:"dead"`    // packs that are kept, and are mostly dead
	Unknown   Tally     `json:"unknown"` // objects of no kind that is collected; never touched
	Items     Items     `json:"items"`   // segments of the chains
	Chains    Items     `json:"chains"`  // of topics that are gone
	Uploads   Items     `json:"uploads"` // unfinished; Superfluous are those that are old enough
	// Due is how many items, chains and objects have been superfluous for the grace; without
	// a failure, and but for a dry run or if Late, all of them were removed.
	Due int64 `json:"due"`
	// Late tells that the time for the removals of a window was over before all that is due was removed. Due then
	// counts what the run has come to.
	Late bool `json:"late"`
	// Deferred is how many superfluous things found no place in the marks.
	Deferred int64    `json:"deferred"`
	Damaged  []Damage `json:"damaged"`
}

// tallyOf returns where an object is counted, by its prefix.
func (r *Report) tallyOf(key string) *Tally {
	switch {
	case strings.HasPrefix(key, chain.ObjectPrefix):
		return &r.Packs
	case strings.HasPrefix(key, wal.ObjectPrefix):
		return &r.WAL
	case strings.HasPrefix(key, metalog.ArchivePrefix):
		return &r.Archive
	case strings.HasPrefix(key, metalog.SnapshotPrefix):
		return &r.Snapshots
	}
	return &r.Unknown
}

// Removed sums up the objects that were removed, without the collector's own.
func (r *Report) Removed() Count {
	var sum Count
	for _, t := range []Tally{r.Packs, r.WAL, r.Snapshots, r.Archive} {
		sum.addAll(t.Removed)
	}
	return sum
}

// Superfluous sums up the objects that were found superfluous, whether or not they were removed.
func (r *Report) Superfluous() Count {
	var sum Count
	for _, t := range []Tally{r.Packs, r.WAL, r.Snapshots, r.Archive} {
		sum.addAll(t.Superfluous)
	}
	return sum
}

// Stats are counts since the Collector was made.
type Stats struct {
	Looks        int64 // runs, whether or not they failed
	Errors       int64 // runs that failed
	Removed      Count // objects
	RemovedItems int64 // of chains
	Last         Report
}

// Stats returns the counts, and the report of the last run.
func (c *Collector) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

func (c *Collector) note(r Report, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Looks++
	if err != nil {
		c.stats.Errors++
	}
	c.stats.Removed.addAll(r.Removed())
	c.stats.RemovedItems += r.Items.Removed
	c.stats.Last = r
}
