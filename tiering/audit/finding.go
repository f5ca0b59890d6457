package audit

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/pack"
)

// Severity says whether something depends on what was found.
type Severity string

// The severities.
const (
	Damage   Severity = "damage"
	Harmless Severity = "harmless"
)

// Finding is one thing that is not as it should be, and where it is as far as is known.
type Finding struct {
	Severity  Severity `json:"severity"`
	Check     string   `json:"check"`            // what was being checked: "chain", "pack", "stream", "wal object", …
	Object    string   `json:"object,omitempty"` // name in the object store
	Position  *int64   `json:"position,omitempty"`
	Topic     string   `json:"topic,omitempty"` // its name, or else its id
	Partition *int32   `json:"partition,omitempty"`
	Offset    *int64   `json:"offset,omitempty"`
	Session   string   `json:"session,omitempty"`
	Slot      *uint64  `json:"slot,omitempty"`
	What      string   `json:"what"`
}

// Place is the object with the position, the partition with the offset, the stream with the slot.
func (f Finding) Place() string {
	var parts []string
	if f.Object != "" {
		s := f.Object
		if f.Position != nil {
			s += fmt.Sprintf(":%d", *f.Position)
		}
		parts = append(parts, s)
	}
	if f.Topic != "" && f.Partition != nil {
		parts = append(parts, fmt.Sprintf("%s-%d", f.Topic, *f.Partition))
	}
	if f.Offset != nil {
		parts = append(parts, fmt.Sprintf("offset %d", *f.Offset))
	}
	if f.Session != "" {
		s := "session " + f.Session
		if f.Slot != nil {
			s += fmt.Sprintf(" slot %d", *f.Slot)
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

// compare orders findings: damage first, then by place.
func (f Finding) compare(g Finding) int {
	return cmp.Or(
		cmp.Compare(f.Severity, g.Severity), cmp.Compare(f.Check, g.Check), cmp.Compare(f.Object, g.Object), cmp.Compare(f.Topic, g.Topic),
		cmp.Compare(deref(f.Partition), deref(g.Partition)), cmp.Compare(deref(f.Offset), deref(g.Offset)),
		cmp.Compare(f.Session, g.Session), cmp.Compare(deref(f.Slot), deref(g.Slot)), cmp.Compare(f.What, g.What),
	)
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// find notes a finding.
func (a *auditor) find(f Finding) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.Severity == Damage {
		a.report.Damage++
	} else if a.report.Harmless++; a.report.Harmless > a.cfg.MaxHarmless {
		a.report.LeftOut++
		return
	}
	a.report.Findings = append(a.report.Findings, f)
}

// at names a partition and an offset in a finding.
func (a *auditor) at(f Finding, p id.Partition, o id.Offset) Finding {
	offset := int64(o)
	f.Topic, f.Partition, f.Offset = a.topicName(p.Topic), &p.Index, &offset
	return f
}

func (a *auditor) topicName(t id.Topic) string {
	if a.image != nil {
		if topic, ok := a.image.TopicByID(t); ok {
			return topic.Name
		}
	}
	return t.String()
}

// in names the place in an object, and in a partition, that an error tells.
func (a *auditor) in(f Finding, err error) Finding {
	f.What = err.Error()
	var corrupt *pack.CorruptError
	if errors.As(err, &corrupt) {
		f.Position = &corrupt.Pos
		if !corrupt.Partition.Topic.IsZero() {
			f = a.at(f, corrupt.Partition, corrupt.Offset)
		}
		if corrupt.Offset < 0 {
			f.Offset = nil
		}
	}
	return f
}
