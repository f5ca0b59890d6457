package config

import "fmt"

// Consistent checks configs of one topic, each of which is valid, against each other, as Kafka does. It fails with ErrInvalid.
func Consistent(own map[string]string) error {
	v := values{Layers{Resource: own}}
	least, most := v.number("min.compaction.lag.ms"), v.number("max.compaction.lag.ms")
	if least > most {
		return fmt.Errorf("%w: min.compaction.lag.ms %d is above max.compaction.lag.ms %d", ErrInvalid, least, most)
	}
	return nil
}
