package config

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Effective is what counts for a topic, all layers together.
type Effective struct {
	MaxMessageBytes int32 // of a batch as it is compressed
	LogAppendTime   bool
	TimestampBefore time.Duration // Unlimited: any
	TimestampAfter  time.Duration
	Durability      string
	CompressionType string

	Delete, Compact     bool          // cleanup.policy
	Retention           time.Duration // Unlimited: for ever
	RetentionBytes      int64         // -1: no limit
	SegmentBytes        int32
	SegmentAge          time.Duration
	DeleteRetention     time.Duration
	MinCompactionLag    time.Duration
	MaxCompactionLag    time.Duration
	MinCleanableDirty   float64
	FileDeleteDelay     time.Duration
	LocalRetention      time.Duration
	LocalRetentionBytes int64
}

// Unlimited stands for a time without a limit.
const Unlimited time.Duration = math.MaxInt64

// Resolve computes what counts for a topic with the layers, whose values were
// validated when they were set. A value that does not parse all the same takes
// Kafka's default, so that a topic never becomes unusable by its configs.
func Resolve(l Layers) *Effective {
	v := values{l}
	policy := Elements(v.text("cleanup.policy"))
	return &Effective{
		MaxMessageBytes: int32(v.number("max.message.bytes")),
		LogAppendTime:   v.text("message.timestamp.type") == "LogAppendTime",
		TimestampBefore: v.duration("message.timestamp.before.max.ms"),
		TimestampAfter:  v.duration("message.timestamp.after.max.ms"),
		Durability:      v.text("forebay.durability"),
		CompressionType: v.text("compression.type"),

		Delete:              slices.Contains(policy, "delete"),
		Compact:             slices.Contains(policy, "compact"),
		Retention:           v.duration("retention.ms"),
		RetentionBytes:      v.number("retention.bytes"),
		SegmentBytes:        int32(v.number("segment.bytes")),
		SegmentAge:          v.duration("segment.ms"),
		DeleteRetention:     v.duration("delete.retention.ms"),
		MinCompactionLag:    v.duration("min.compaction.lag.ms"),
		MaxCompactionLag:    v.duration("max.compaction.lag.ms"),
		MinCleanableDirty:   v.ratio("min.cleanable.dirty.ratio"),
		FileDeleteDelay:     v.duration("file.delete.delay.ms"),
		LocalRetention:      v.local("local.retention.ms", "retention.ms"),
		LocalRetentionBytes: v.localBytes(),
	}
}

// values reads typed values out of layers.
type values struct{ layers Layers }

// text returns the value that counts, or the default if that is not valid.
func (v values) text(name string) string {
	d, ok := Topic(name)
	if !ok {
		panic("config: no topic config " + name)
	}
	found := d.Resolve(v.layers)[0].Value
	if d.Validate(found) != nil {
		return d.Default
	}
	return strings.TrimSpace(found)
}

func (v values) number(name string) int64 {
	n, err := strconv.ParseInt(v.text(name), 10, 64)
	if err != nil {
		panic("config: " + name + " is no number")
	}
	return n
}

func (v values) ratio(name string) float64 {
	f, err := strconv.ParseFloat(v.text(name), 64)
	if err != nil {
		panic("config: " + name + " is no number")
	}
	return f
}

// duration reads milliseconds; a negative value, or one beyond what a Duration
// holds, is Unlimited.
func (v values) duration(name string) time.Duration {
	ms := v.number(name)
	if ms < 0 || ms > int64(Unlimited/time.Millisecond) {
		return Unlimited
	}
	return time.Duration(ms) * time.Millisecond
}

// local reads a time for which -2 means the value of another config.
func (v values) local(name, other string) time.Duration {
	if v.number(name) == -2 {
		name = other
	}
	return v.duration(name)
}

func (v values) localBytes() int64 {
	if n := v.number("local.retention.bytes"); n != -2 {
		return n
	}
	return v.number("retention.bytes")
}
