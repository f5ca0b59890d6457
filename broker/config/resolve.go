package config

import (
	"strconv"
	"strings"
)

// Layers are the places where a value may be set. All maps may be nil.
type Layers struct {
	// Resource is what was set for the resource itself, and Source is what that
	// counts as: DynamicTopic, DynamicGroup or, for a broker, DynamicBroker.
	Resource map[string]string
	Source   Source

	Broker  map[string]string // set for this broker
	Cluster map[string]string // set for all brokers
	Static  map[string]string // the broker's own settings
}

// Value is a value with the place it was found in.
type Value struct {
	Name   string // the config's own, or that of the synonym that was set
	Value  string
	Source Source
}

// Resolve lists the values of a config in order of precedence: the first counts,
// the others are what would count without those before. A config without any value
// has an empty list. Values behind a scaled synonym are in the synonym's units,
// but for the first.
func (d *Definition) Resolve(l Layers) []Value {
	var values []Value
	add := func(name string, from map[string]string, source Source, scale int64) {
		v, ok := from[name]
		if !ok {
			return
		}
		if len(values) == 0 {
			v = scaled(v, scale)
		}
		values = append(values, Value{Name: name, Value: v, Source: source})
	}
	add(d.Name, l.Resource, l.Source, 1)
	names := d.Synonyms
	if l.Source == DynamicBroker {
		names = []Synonym{{Name: d.Name, Scale: 1}}
	}
	for _, layer := range []struct {
		values map[string]string
		source Source
	}{{l.Broker, DynamicBroker}, {l.Cluster, DynamicDefault}, {l.Static, Static}} {
		for _, s := range names {
			add(s.Name, layer.values, layer.source, s.Scale)
		}
	}
	if !d.NoValue {
		name := d.Name
		if len(names) > 0 {
			name = names[0].Name
		}
		values = append(values, Value{Name: name, Value: d.Default, Source: Default})
	}
	return values
}

// scaled multiplies a number, which was validated; a negative one means no limit in
// any unit.
func scaled(v string, scale int64) string {
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if scale <= 1 || err != nil || n < 0 {
		return v
	}
	return strconv.FormatInt(n*scale, 10)
}
