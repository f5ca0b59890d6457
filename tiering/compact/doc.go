// Package compact is the log cleaner: of the records of a compacted topic it keeps, in what is
// sealed, the newest of each key. It follows Apache Kafka's, so that the same records are left:
// tombstones and transaction markers have delete horizons (KIP-534), aborted records go, lags
// hold it back or hasten it (KIP-58, KIP-354), and the last record of all stays ([Cleaner.Clean]).
//
// [Plan] decides, [Run] does it for each partition in one pass, as Kafka: a map of the keys of the
// dirty part, which may be cleaned, is built first, from one read of it. Then the segments from
// the log start to the end of the map are rewritten, in groups of up to segment.bytes, without
// the records that have a newer one in the map. Two things differ, of which a consumer sees
// nothing: no empty batches stay for the sake of producers' sequence numbers, since footers hold
// those, and a segment of the clean part that nothing would be taken from is left where it is.
//
// Passes over small partitions are made beside each other, so that a pack has what is left of many.
//
// Memory. The map takes MapConfig.Budget bytes and no more, 24 for each key, held by a hash. The maps of passes beside
// each other take no more together, with what these hold of their chains. Beyond that sorted runs are written to a
// file, are merged when the map is complete, with buffers and a
// sparse index within the budget, and are looked up there; without a directory the map becomes full
// instead, as Kafka's does, and what follows is cleaned by the next pass. Besides there is one batch,
// decompressed and as rebuilt, the caches of the cold reader and of the rewriter, and 32 bytes for each aborted
// transaction that the footers name. Nothing depends on the size of the log, but the chain's items.
//
// Crashes. Each group is put in its place by one write to the chain (chain.Replace), and what is
// in place says with CleanedTo up to which offset its keys were looked for. A crash between two groups leaves
// groups that were cleaned up to the new end and others that were not. Both are a correct log: a
// record is only gone where a newer one of its key exists, and that one lies below the map's
// end, where it is kept by whoever cleans that group, before or after. A tombstone is only gone if it lies in the
// clean part and its horizon, set by an earlier pass over it, has passed; that earlier pass may have been one that
// stopped before it came to the clean part's end, but groups are cleaned in the order of offsets, so all that a tombstone
// hides was gone over before it. The same holds for an aborted transaction: its records lie below its marker.
// The next pass finds the least CleanedTo (Plan) and begins its map there.
//
// Others. Somebody who has read segments before a pass cleaned them may put a copy of them in the chain after it,
// for chain.CommitWithin, and with it what a tombstone has hidden. The copy says how far it is clean, so that the next pass
// finds the tombstone in the dirty part again: there it stays, with a new horizon, as does what follows it
// (pass.lower). And a horizon is MinRetention away at least: a tombstone goes only when such a copy comes no more.
//
// A KeyMap and a Cleaner are for one goroutine; Run may run for several partitions at once, and
// even for the same partition: chain.Replace lets one of them win.
package compact
