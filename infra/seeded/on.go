//go:build seededbugs

package seeded

import (
	"fmt"
	"slices"
)

var planted string

// Plant plants a bug for the rest of the process; an empty name plants none. It must be
// called before anything else runs, by a main.
func Plant(bug string) error {
	if bug != "" && !slices.Contains(Bugs(), bug) {
		return fmt.Errorf("plant bug %q: there is none of that name; there are %q", bug, Bugs())
	}
	planted = bug
	return nil
}

// Enabled reports whether a bug is planted.
func Enabled(bug string) bool { return bug == planted }
