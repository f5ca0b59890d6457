package javasuites

import (
	"fmt"
	"strings"
)

// counted is how often something was seen.
type counted map[string]int

// compare says how two bags differ; nil if they do not. With atLeast, what is there too
// often is no difference.
func (have counted) compare(want counted, atLeast bool) error {
	var missing, extra examples
	for what, n := range want {
		if have[what] < n {
			missing.add(what)
		}
	}
	for what, n := range have {
		if n > want[what] && (!atLeast || want[what] == 0) {
			extra.add(fmt.Sprintf("%s (%d instead of %d times)", what, n, want[what]))
		}
	}
	if missing.n+extra.n == 0 {
		return nil
	}
	return fmt.Errorf("of %d records %d are missing%s, and %d are there that should not be%s",
		len(want), missing.n, missing, extra.n, extra)
}

// examples is a count with the first few of what was counted.
type examples struct {
	n     int
	first []string
}

func (e *examples) add(what string) {
	if e.n++; e.n <= 3 {
		e.first = append(e.first, what)
	}
}

func (e examples) String() string {
	if e.n == 0 {
		return ""
	}
	return " such as " + strings.Join(e.first, ", ")
}
