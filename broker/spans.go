package broker

// The spans of a broker. What a group commit does is shared by many requests, so its spans, which are those of
// package wal, are traces of their own with links to the requests.
const (
	spanProduce  = "produce"   // a Produce, until it is answered
	spanAppend   = "append"    // below it: validation, and the queue of the group commit
	spanCommit   = "commit"    // below it: the wait for the group commit
	spanFetch    = "cold read" // of one partition of a Fetch, below the hot tier
	spanSeal     = "seal"      // a pass that sealed something, or failed
	spanTakeOver = "takeover"  // of a dead broker's partitions, until they have new leaders
	spanAcquire  = "acquire"   // of partitions that have come, until they are served
)

// RareSpan reports whether spans of the name are few, whatever the load is.
func RareSpan(name string) bool {
	return name == spanSeal || name == spanTakeOver || name == spanAcquire
}
