package differential

import (
	"fmt"
	"strings"
)

// difference is a place at which two transcripts are not alike.
type difference struct {
	label          string // of the step
	path           string // in its answer
	kafka, forebay string
}

// where says which difference it is, whatever the values.
func (d difference) where() string { return strings.TrimSuffix(d.label+" "+d.path, " ") }

func (d difference) String() string {
	return fmt.Sprintf("%s: Kafka %s, Forebay %s", d.where(), d.kafka, d.forebay)
}

// differences compares two transcripts step by step.
func differences(kafka, forebay []step) []difference {
	var out []difference
	for i := range max(len(kafka), len(forebay)) {
		switch {
		case i >= len(kafka):
			return append(out, difference{forebay[i].label, "", "did not get there", "did"})
		case i >= len(forebay):
			return append(out, difference{kafka[i].label, "", "did", "did not get there"})
		case kafka[i].label != forebay[i].label:
			return append(out, difference{"went different ways", "", kafka[i].label, forebay[i].label})
		default:
			out = append(out, fieldDifferences(kafka[i], forebay[i])...)
		}
	}
	return out
}

// absent stands for a field that only the other answer has.
const absent = "nothing"

func fieldDifferences(kafka, forebay step) []difference {
	if noted(kafka) != noted(forebay) { // one did not answer
		return []difference{{kafka.label, "", summary(kafka), summary(forebay)}}
	}
	other := make(map[string]string, len(forebay.fields))
	for _, f := range forebay.fields {
		other[f.path] = f.value
	}
	var out []difference
	for _, f := range kafka.fields {
		value, ok := other[f.path]
		if !ok {
			value = absent
		}
		delete(other, f.path)
		if value != f.value {
			out = append(out, difference{kafka.label, f.path, f.value, value})
		}
	}
	for _, f := range forebay.fields {
		if value, left := other[f.path]; left {
			out = append(out, difference{kafka.label, f.path, absent, value})
		}
	}
	return out
}

// noted reports whether a step is something that was seen, as opposed to an answer.
func noted(s step) bool { return len(s.fields) == 1 && s.fields[0].path == "" }

// summary is a step in short.
func summary(s step) string {
	if noted(s) {
		return s.fields[0].value
	}
	return "an answer"
}
