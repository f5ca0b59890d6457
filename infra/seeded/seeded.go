// Package seeded holds the bugs that are planted to prove that the fault tests would
// find them. Code that guards a promise asks Enabled whether to leave its guard out.
//
// Without the build tag seededbugs Enabled is false for the compiler too, which then
// removes the question. With it a main plants one bug before it starts anything; Enabled
// is safe for concurrent use from then on.
package seeded

// The bugs, by what each switches off.
const (
	// Fencing: a leader acknowledges though its session may be over.
	Fencing = "fencing"
	// CRC: checksums of record batches are not compared.
	CRC = "crc"
	// Fsync: the journal calls written what was not synced.
	Fsync = "fsync"
	// Dedup: the sequences of idempotent producers are not looked at.
	Dedup = "dedup"
	// GCGrace: WAL objects are released before what they hold is sealed.
	GCGrace = "gc-grace"
	// AckBeforeCommit: acks=all is answered as soon as a batch has its offsets.
	AckBeforeCommit = "ack-before-commit"
	// LastStable: readers of what is committed are let past open transactions.
	LastStable = "last-stable"
	// AbortedList: readers of what is committed are not told which transactions were aborted.
	AbortedList = "aborted-list"
	// UnpreparedEnd: the end of a transaction is answered, and its markers are written, before it is durable.
	UnpreparedEnd = "unprepared-end"
	// AbortOnInit: a producer that takes a transactional id over does not abort what is open.
	AbortOnInit = "abort-on-init"
	// CollectorGrace: the collector removes what a single look found superfluous.
	CollectorGrace = "collector-grace"
	// Retention: records go when they have half the age that retention.ms wants.
	Retention = "retention"
	// Tombstones: tombstones go in the first pass over them.
	Tombstones = "tombstones"
)

// Bugs returns all of them.
func Bugs() []string {
	return []string{Fencing, CRC, Fsync, Dedup, GCGrace, AckBeforeCommit, LastStable, AbortedList, UnpreparedEnd, AbortOnInit, CollectorGrace, Retention, Tombstones}
}
