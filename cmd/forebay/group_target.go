package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
)

// resetTarget is where group reset moves offsets to: one of its flags.
type resetTarget struct {
	earliest, latest, current bool
	offset, shift             int64
	duration, datetime, file  string

	flag string    // which was given
	time time.Time // of by-duration and to-datetime
	plan resetPlan // of from-file; nil: of another flag
}

func (r *resetTarget) register(flags *pflag.FlagSet) {
	flags.BoolVar(&r.earliest, "to-earliest", false, "to the oldest record")
	flags.BoolVar(&r.latest, "to-latest", false, "behind the newest record")
	flags.BoolVar(&r.current, "to-current", false, "to where it is, which commits it anew, or behind the newest record where nothing was committed")
	flags.Int64Var(&r.offset, "to-offset", 0, "to this offset")
	flags.Int64Var(&r.shift, "shift-by", 0, "by so many records, back if negative")
	flags.StringVar(&r.file, "from-file", "", "to the offsets in this CSV file, topic,partition,offset with or without a group in front")
	flags.StringVar(&r.duration, "by-duration", "", "to the first record of this time ago or later, such as PT1H30M or 90m")
	flags.StringVar(&r.datetime, "to-datetime", "", "to the first record of this time or later, such as 2026-01-31T12:00:00Z")
}

// parse finds out which flag was given, and reads the file.
func (r *resetTarget) parse(flags *pflag.FlagSet, group string, now time.Time) (err error) {
	names := []string{"to-earliest", "to-latest", "to-current", "to-offset", "shift-by", "by-duration", "to-datetime", "from-file"}
	for _, name := range names {
		if !flags.Changed(name) {
			continue
		}
		if r.flag != "" {
			return usageErrorf("give one of --%s and --%s", r.flag, name)
		}
		r.flag = name
	}
	switch r.flag {
	case "":
		return usageErrorf("say where to: one of --%v", names)
	case "to-offset":
		if r.offset < 0 {
			return usageErrorf("--to-offset %d: want 0 or more", r.offset)
		}
	case "by-duration":
		d, err := parseDuration(r.duration)
		if err != nil {
			return usageErrorf("--by-duration: %w", err)
		}
		r.time = now.Add(-d)
	case "to-datetime":
		if r.time, err = parseTime(r.datetime); err != nil {
			return usageErrorf("--to-datetime: %w", err)
		}
	case "from-file":
		if r.plan, err = readResetPlan(r.file, group); err != nil {
			return fmt.Errorf("--from-file: %w", err)
		}
	}
	return nil
}

var isoDuration = regexp.MustCompile(`(?i)^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// parseDuration reads a duration as Kafka's tool (PnDTnHnMnS) or as Go does (1h30m).
func parseDuration(text string) (time.Duration, error) {
	m := isoDuration.FindStringSubmatch(text)
	if m == nil {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("%q: want a duration such as PT1H30M or 90m", text)
		}
		return d, nil
	}
	var total time.Duration
	given := false
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(m[i+1], 64)
		if err != nil || n*float64(unit) > float64(1<<62) {
			return 0, fmt.Errorf("%q: too long", text)
		}
		given = true
		total += time.Duration(n * float64(unit))
	}
	if !given {
		return 0, fmt.Errorf("%q: no number in it", text)
	}
	return total, nil
}

// resetOffsets are what a target is worked out from.
type resetOffsets struct {
	starts, ends, times kadm.ListedOffsets
}

func (r *resetTarget) list(ctx context.Context, adm *kadm.Client, topics []string) (o resetOffsets, err error) {
	if o.starts, err = adm.ListStartOffsets(ctx, topics...); err != nil {
		return o, fmt.Errorf("list start offsets: %w", err)
	}
	if o.ends, err = adm.ListEndOffsets(ctx, topics...); err != nil {
		return o, fmt.Errorf("list end offsets: %w", err)
	}
	if !r.time.IsZero() {
		if o.times, err = adm.ListOffsetsAfterMilli(ctx, r.time.UnixMilli(), topics...); err != nil {
			return o, fmt.Errorf("look up the time: %w", err)
		}
	}
	return o, nil
}

// errNotCommitted is returned for targets that count from what was committed.
var errNotCommitted = errors.New("nothing was committed")

// place returns the new offset of p, which lies within the partition.
func (r *resetTarget) place(o resetOffsets, p partition, committed *int64) (int64, error) {
	start, err := lookup(o.starts, p)
	if err != nil {
		return 0, err
	}
	end, err := lookup(o.ends, p)
	if err != nil {
		return 0, err
	}
	var to int64
	switch r.flag {
	case "to-earliest":
		to = start.Offset
	case "to-latest":
		to = end.Offset
	case "to-offset":
		to = r.offset
	case "from-file":
		to = r.plan[p]
	case "to-current":
		if to = end.Offset; committed != nil {
			to = *committed
		}
	case "shift-by":
		if committed == nil {
			return 0, fmt.Errorf("move %s with --%s: %w", p, r.flag, errNotCommitted)
		}
		if to = *committed + r.shift; r.shift > 0 && to < *committed {
			to = end.Offset // beyond the largest number
		}
	default:
		at, err := lookup(o.times, p)
		if err != nil {
			return 0, err
		}
		to = at.Offset
	}
	return min(max(to, start.Offset), end.Offset), nil
}
