// Package lifemodel holds the life of data to a model of Kafka's rules: what one node's tiers
// have after random appends, sealing, deletion, crashes and the work of those who rewrite and
// remove is compared with a plain list of all that was ever appended. It has tests only.
//
// The number of runs and of steps is that of rapid's flags, -rapid.checks and
// -rapid.steps, whose defaults here are some thousands of steps in a few seconds.
package lifemodel

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	defaults := map[string]string{"rapid.checks": "25", "rapid.steps": "150"}
	if testing.Short() {
		defaults["rapid.checks"] = "6"
	}
	for name, value := range defaults {
		if given[name] {
			continue
		}
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}
