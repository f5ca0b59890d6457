package group

import "strings"

// Shard is Kafka's choice of the partition for a group or a transactional id: abs(hash) % partitions,
// where the hash is Java's String.hashCode, over UTF-16, and abs(MIN_VALUE) is 0.
func Shard(name string, partitions int) int {
	var h int32
	for _, r := range name {
		if r > 0xffff {
			r -= 0x10000
			h = 31*h + (0xd800 + r>>10)
			r = 0xdc00 + r&0x3ff
		}
		h = 31*h + r
	}
	if h < 0 {
		h = max(-h, 0) // -MinInt32 overflows to itself
	}
	return int(h) % partitions
}

// StoredName is the name of a group in the table, which has no empty names: Kafka lets
// consumers without a group commit to the group "". It is stored as a zero byte, and one more
// stands before every name that begins with one.
func StoredName(name string) string {
	if name == "" || name[0] == 0 {
		return "\x00" + name
	}
	return name
}

// NameOfStored is the inverse of StoredName.
func NameOfStored(stored string) string { return strings.TrimPrefix(stored, "\x00") }
