package batch

// attrDeleteHorizon says that the base timestamp tells when tombstones and markers may go.
const attrDeleteHorizon = 0x40

// Hollow returns a batch without records in the place of v, of which the header is enough: it has
// v's offsets, epochs, times, producer and sequences. Kafka leaves such a batch of a
// producer's last one when compaction has removed all records of it.
func (v View) Hollow() View {
	h := append(View(nil), v[:HeaderSize]...)
	h.put32(posLength, HeaderSize-logOverhead)
	h[posAttributes+1] &^= attrCodec | attrDeleteHorizon
	h.put32(posRecords, 0)
	if v[posAttributes+1]&attrDeleteHorizon != 0 {
		h.put64(posBaseTimestamp, v.MaxTimestamp())
	}
	h.seal()
	return h
}
