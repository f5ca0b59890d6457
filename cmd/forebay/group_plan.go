package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// resetPlan are the offsets of a file that group reset goes by.
type resetPlan map[partition]int64

// selection is what the plan moves.
func (r resetPlan) selection() map[string][]int32 {
	selection := make(map[string][]int32)
	for p := range r {
		selection[p.topic] = append(selection[p.topic], p.index)
	}
	return selection
}

// readResetPlan reads a file as kafka-consumer-groups --export writes it.
func readResetPlan(path, group string) (plan resetPlan, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if plan, err = parseResetPlan(f, group); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return plan, nil
}

// parseResetPlan reads lines of topic,partition,offset or of group,topic,partition,offset. Those of other
// groups are left out. It fails if none is left, or if a partition is named twice.
func parseResetPlan(from io.Reader, group string) (resetPlan, error) {
	plan := resetPlan{}
	lines := csv.NewReader(from)
	for {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := lines.FieldPos(0)
		if len(fields) == 4 {
			if fields[0] != group {
				continue
			}
			fields = fields[1:]
		}
		p, offset, err := parsePlanned(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if _, twice := plan[p]; twice {
			return nil, fmt.Errorf("line %d: %s is named twice", line, p)
		}
		plan[p] = offset
	}
	if len(plan) == 0 {
		return nil, fmt.Errorf("no offset of group %s in it", group)
	}
	return plan, nil
}

func parsePlanned(fields []string) (p partition, offset int64, err error) {
	if len(fields) != 3 || fields[0] == "" {
		return p, 0, errors.New("want topic,partition,offset or group,topic,partition,offset")
	}
	index, err := strconv.ParseInt(fields[1], 10, 32)
	if err != nil || index < 0 {
		return p, 0, fmt.Errorf("%q is no partition", fields[1])
	}
	if offset, err = strconv.ParseInt(fields[2], 10, 64); err != nil {
		return p, 0, fmt.Errorf("%q is no offset", fields[2])
	}
	return partition{fields[0], int32(index)}, offset, nil
}
