package config

import (
	"strconv"
	"strings"
)

// The broker configs that control the tiers of a broker while it runs.
const (
	SealEnable = "forebay.seal.enable"
	SealBefore = "forebay.seal.before.ms"
	CacheBytes = "forebay.cache.bytes"
	HotBytes   = "forebay.hot.bytes"
	Drain      = "forebay.drain"
)

// tieringDefinitions are broker configs of Forebay's own. They can be altered while the broker runs.
var tieringDefinitions = []Definition{
	{
		Name: SealEnable, Type: Boolean, Default: "true",
		Doc: "Whether records are sealed into packs. While it is false they stay where they are, and nothing is retained, compacted or dropped beyond what is sealed.",
	},
	{
		Name: SealBefore, Type: Long, Default: "0", check: atLeast(0),
		Doc: "Whatever was appended before this time, in milliseconds since 1970 by the broker's clock, is sealed without waiting for its segment to be full or old.",
	},
	{
		Name: CacheBytes, Type: Long, Default: "67108864", check: atLeast(4 << 20),
		Doc: "Memory for what is read from packs, in bytes; over --cache-bytes.",
	},
	{
		Name: HotBytes, Type: Long, Default: "1073741824", check: atLeast(1),
		Doc: "Bytes on disk above which hot segments that are sealed are dropped; over --hot-bytes.",
	},
	{
		Name: Drain, Type: Boolean, Default: "false",
		Doc: "Set for one broker: it hands over what it leads and gets nothing new, as long as another one can lead. Set for all brokers it has no effect.",
	},
}

// Tiering is what the controls of the tiers come to.
type Tiering struct {
	Seal       bool
	SealBefore int64 // ms since 1970
	CacheBytes int64
	HotBytes   int64
}

// ResolveTiering computes what counts for a broker with the layers, as Resolve does for a topic.
func ResolveTiering(l Layers) Tiering {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(brokerValue(name, l), 10, 64) // which was validated
		return n
	}
	return Tiering{
		Seal: strings.ToLower(brokerValue(SealEnable, l)) == "true", SealBefore: number(SealBefore),
		CacheBytes: number(CacheBytes), HotBytes: number(HotBytes),
	}
}

// brokerValue returns the value of a broker config that counts, or the default if that is not valid.
func brokerValue(name string, l Layers) string {
	d, ok := Broker(name)
	if !ok {
		panic("config: no broker config " + name)
	}
	found := d.Resolve(l)[0].Value
	if d.Validate(found) != nil {
		return d.Default
	}
	return strings.TrimSpace(found)
}
