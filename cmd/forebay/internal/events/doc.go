// Package events takes CloudEvents 1.0 over HTTP and writes them as records, so that a
// producer needs nothing but curl: POST /topics/{topic}/events, with one event in binary or
// structured mode, or a batch. Records follow the Kafka binding of CloudEvents in its binary
// mode: the attributes are headers ce_NAME, the media type is the header content-type, the
// value is the data, and the key is the extension partitionkey.
//
// It is a client of a broker like any other (idempotent, acks=all), so that an answer of 200
// promises exactly what the acknowledgement of a Kafka producer does. It never creates topics
// and keeps nothing but what is on its way. Server and Producer are safe for concurrent use.
package events
