// Package wire holds what is known of Kafka's protocol below the single APIs:
// frames and their limits, the header of a request, the walk over a request's
// body that bounds what decoding it may allocate, and the gathering of a response.
// It never reads or writes a connection on its own and starts no goroutine; values
// are not safe for concurrent use unless they say so.
package wire
