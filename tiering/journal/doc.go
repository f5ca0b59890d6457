// Package journal is the hot tier: it appends the record batches of all
// partitions, interleaved, to one preallocated segment file after another, so that
// a broker with ten thousand partitions still does one sequential write and one
// fsync for each group. It keeps the newest batches in memory for readers and an
// index of the rest in Badger.
//
// The segments are the truth. The index is derived: it is checked against the
// segments when the journal opens and rebuilt from them when it is missing, behind
// or damaged. The journal knows nothing of topics' names, leaders or watermarks.
//
// Append, Read and everything that only looks are safe for concurrent use, and so
// are Flush, Sync, Roll, Drop and Close, which wait for each other.
//
// The commit point of an append is the return of the Sync that follows its Flush.
// A crash before it may lose the batch, and then also all batches after it; a
// crash after it loses nothing. The format is in FORMAT.md.
package journal
