// Package config knows Kafka's configs: their names, types, defaults, validation
// and synonyms, and which value counts when a config is set in several places. It
// is pure: it reads no store, keeps no state and knows no protocol types. All of it
// is safe for concurrent use.
package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Errors of this package, which wrap them with the config and what is wrong with it.
var (
	// ErrUnknown: there is no config of that name.
	ErrUnknown = errors.New("unknown config")
	// ErrInvalid: the value is of another type or out of range.
	ErrInvalid = errors.New("invalid config value")
	// ErrReadOnly: the config cannot be changed while the broker runs.
	ErrReadOnly = errors.New("config is read-only")
	// ErrNotList: an element is appended to, or subtracted from, what is no list.
	ErrNotList = errors.New("config is not a list")
)

// Type is the type of a config's value, with the number that DescribeConfigs has for it.
type Type int8

// The types of configs.
const (
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

// Source is where a value comes from, with the number that DescribeConfigs has for it.
type Source int8

// The sources of values.
const (
	DynamicTopic   Source = 1
	DynamicBroker  Source = 2 // set for one broker
	DynamicDefault Source = 3 // set for all brokers
	Static         Source = 4 // from the broker's own settings
	Default        Source = 5
	DynamicGroup   Source = 8
)

// Synonym is a broker config that gives a topic config its default. Its value
// counts Scale of the topic config's units; a scale of 0 or 1 leaves the value as it is.
type Synonym struct {
	Name  string
	Scale int64
}

// Definition describes one config.
type Definition struct {
	Name     string
	Type     Type
	Default  string
	NoValue  bool      // there is no default; Default is ""
	Synonyms []Synonym // broker configs behind a topic config, the first set one counts
	ReadOnly bool      // cannot be altered
	Doc      string
	check    func(value string) error
}

// Validate checks a value; as in Kafka the space around it does not count. It fails with ErrInvalid.
func (d *Definition) Validate(value string) error {
	plain := strings.TrimSpace(value)
	err := d.parses(plain)
	if err == nil && d.check != nil {
		err = d.check(plain)
	}
	if err != nil {
		return fmt.Errorf("%w %q for %s: %w", ErrInvalid, value, d.Name, err)
	}
	return nil
}

// Sensitive reports whether values must not be shown.
func (d *Definition) Sensitive() bool { return d.Type == Password }

// parses checks that value is of the definition's type.
func (d *Definition) parses(value string) error {
	var err error
	switch d.Type {
	case Boolean:
		if v := strings.ToLower(value); v != "true" && v != "false" {
			err = errors.New("must be true or false")
		}
	case Short:
		_, err = strconv.ParseInt(value, 10, 16)
	case Int:
		_, err = strconv.ParseInt(value, 10, 32)
	case Long:
		_, err = strconv.ParseInt(value, 10, 64)
	case Double:
		_, err = strconv.ParseFloat(value, 64)
	}
	if err != nil && d.Type != Boolean {
		return errors.New("must be a number in range")
	}
	return err
}

// Elements splits the value of a list. Kafka trims the space around elements.
func Elements(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	parts := strings.Split(value, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// Append adds the elements of value that the list current lacks.
func (d *Definition) Append(current, value string) (string, error) {
	if d.Type != List {
		return "", fmt.Errorf("append to %s: %w", d.Name, ErrNotList)
	}
	list := Elements(current)
	for _, e := range Elements(value) {
		if !slices.Contains(list, e) {
			list = append(list, e)
		}
	}
	return strings.Join(list, ","), nil
}

// Subtract removes the elements of value from the list current.
func (d *Definition) Subtract(current, value string) (string, error) {
	if d.Type != List {
		return "", fmt.Errorf("subtract from %s: %w", d.Name, ErrNotList)
	}
	gone := Elements(value)
	list := slices.DeleteFunc(Elements(current), func(e string) bool { return slices.Contains(gone, e) })
	return strings.Join(list, ","), nil
}

// atLeast allows numbers from low on. It is applied to what parses.
func atLeast(low int64) func(string) error {
	return func(value string) error {
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < low {
			return fmt.Errorf("must be at least %d", low)
		}
		return nil
	}
}

// within allows numbers from low to high.
func within(low, high float64) func(string) error {
	return func(value string) error {
		if n, err := strconv.ParseFloat(value, 64); err != nil || !(n >= low && n <= high) {
			return fmt.Errorf("must be between %v and %v", low, high)
		}
		return nil
	}
}

// oneOf allows certain words.
func oneOf(words ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(words, value) {
			return fmt.Errorf("must be one of %s", strings.Join(words, ", "))
		}
		return nil
	}
}

// listOf allows lists of certain words, each at most once.
func listOf(words ...string) func(string) error {
	return func(value string) error {
		seen := make(map[string]bool)
		for _, e := range Elements(value) {
			if !slices.Contains(words, e) {
				return fmt.Errorf("elements must be of %s", strings.Join(words, ", "))
			}
			if seen[e] {
				return fmt.Errorf("%s stands twice", e)
			}
			seen[e] = true
		}
		return nil
	}
}

// either allows what one of the checks allows and names the last one's complaint.
func either(checks ...func(string) error) func(string) error {
	return func(value string) (err error) {
		for _, check := range checks {
			if err = check(value); err == nil {
				return nil
			}
		}
		return err
	}
}
