// Package compaction shows that package compact leaves of a log what Apache Kafka's log cleaner
// leaves: both are given the same batches, byte for byte, pass by pass. Whole brokers, too, are given
// the same records, clean them by themselves and are read alike. It needs Apache Kafka's jars and is
// run by `make e2e`, with tag e2e.
package compaction
