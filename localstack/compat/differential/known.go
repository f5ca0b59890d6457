package differential

import "strings"

// knownDifference is one that Forebay rightly has.
type knownDifference struct {
	// place is scenario, step and field: "area/what: step field". A * at the end stands for
	// anything.
	place          string
	kafka, forebay string // the values; not compared if both are empty
	reason         string
}

// matches reports whether a difference of a scenario is the one.
func (k knownDifference) matches(scenario string, d difference) bool {
	where := scenario + ": " + d.where()
	if prefix, any := strings.CutSuffix(k.place, "*"); any {
		if !strings.HasPrefix(where, prefix) {
			return false
		}
	} else if where != k.place {
		return false
	}
	return k.kafka == "" && k.forebay == "" || k.kafka == d.kafka && k.forebay == d.forebay
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

// knownDifferences are the differences that Forebay rightly has.
var knownDifferences = []knownDifference{}
