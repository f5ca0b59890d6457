package differential

import (
	"path"
	"strings"
)

// knownDifference is one that Forebay rightly has.
type knownDifference struct {
	// place is scenario, step and field: "area/what: step field". A * stands for anything.
	place  string
	reason string
}

// matches reports whether a difference of a scenario is at the place.
func (k knownDifference) matches(scenario string, d difference) bool {
	// Names of places have slashes and brackets, which mean something to Match.
	plain := strings.NewReplacer("/", "|", "[", "(", "]", ")", `\`, "|", "?", "|")
	ok, err := path.Match(plain.Replace(k.place), plain.Replace(scenario+": "+d.where()))
	return ok && err == nil
}

// known is the table as the runner wants it: every place is a case of its own.
func known() map[string]string {
	out := make(map[string]string, len(knownDifferences))
	for _, k := range knownDifferences {
		out[k.place] = k.reason
	}
	return out
}

// placeOf is the place in the table of a difference, if it is there.
func placeOf(scenario string, d difference) (string, bool) {
	for _, k := range knownDifferences {
		if k.matches(scenario, d) {
			return k.place, true
		}
	}
	return "", false
}

// placesOf are the places of a scenario, in the table's order.
func placesOf(scenario string) []string {
	var out []string
	for _, k := range knownDifferences {
		if strings.HasPrefix(k.place, scenario+": ") {
			out = append(out, k.place)
		}
	}
	return out
}
