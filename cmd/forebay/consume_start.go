package main

import (
	"math"
	"strconv"
	"strings"
)

// startKind says what a number in --offset counts from.
type startKind int

const (
	startEnd       startKind = iota // at the end, or n before it
	startBeginning                  // at the oldest record
	startOffset                     // at offset n
	startTime                       // at the first record of time n ms or later
)

// startAt is where to start and stop in each partition.
type startAt struct {
	kind  startKind
	n     int64
	until int64 // stop at the first record of this time in ms or later; math.MaxInt64: do not
	given bool  // by --offset or --from-beginning
}

// parseStart reads --offset and --from-beginning.
func (f *consumeFlags) parseStart() (startAt, error) {
	s := startAt{until: math.MaxInt64}
	if f.fromBeginning {
		s.kind, s.given = startBeginning, true
	}
	for _, text := range f.offsets {
		ms, isUntil := strings.CutPrefix(text, "e@")
		switch {
		case isUntil:
			n, err := strconv.ParseInt(ms, 10, 64)
			if err != nil || n < 0 || s.until != math.MaxInt64 {
				return s, usageErrorf("--offset %q: want one e@ with ms since 1970", text)
			}
			s.until = n
		case s.given:
			return s, usageErrorf("--offset %q: another place to start at is given already", text)
		default:
			if err := s.parse(text); err != nil {
				return s, err
			}
		}
	}
	return s, f.checkStart(s)
}

func (s *startAt) parse(text string) error {
	s.given = true
	ms, isTime := strings.CutPrefix(text, "s@")
	switch text {
	case "beginning":
		s.kind = startBeginning
		return nil
	case "end":
		s.kind = startEnd
		return nil
	}
	n, err := strconv.ParseInt(ms, 10, 64)
	switch {
	case err != nil, isTime && n < 0, n == math.MinInt64:
		return usageErrorf("--offset %q: want beginning, end, N, -N, s@MS or e@MS", text)
	case isTime:
		s.kind, s.n = startTime, n
	case strings.HasPrefix(text, "-"):
		s.kind, s.n = startEnd, -n
	default:
		s.kind, s.n = startOffset, n
	}
	return nil
}

// checkStart refuses what cannot go together.
func (f *consumeFlags) checkStart(s startAt) error {
	switch {
	case f.max < 0:
		return usageErrorf("--max %d: want 0 or more", f.max)
	case f.group == "":
		return nil
	case len(f.partitions) > 0:
		return usageErrorf("give --group or --partition, not both: the group assigns the partitions")
	case s.until != math.MaxInt64, s.kind == startOffset, s.kind == startTime, s.n != 0:
		return usageErrorf("with --group, --offset can be beginning or end, for where nothing was committed; see 'forebay group reset'")
	}
	return nil
}
