package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
)

// printTable prints the median of each measure, with its least and highest value, for each
// system, in order of name.
func printTable(w io.Writer, cfg config, results []result) {
	fmt.Fprintf(w, "%d rounds, %d records of %d B for each producer, 6 partitions, acks=all, %d cores, %s\n\n",
		cfg.rounds, cfg.records, cfg.size, runtime.NumCPU(), runtime.Version())
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "median (least - highest)\t")
	for _, system := range cfg.systems {
		fmt.Fprintf(table, "%s\t", system)
	}
	fmt.Fprintln(table)
	for _, name := range measures(results) {
		fmt.Fprintf(table, "%s\t", name)
		for _, system := range cfg.systems {
			fmt.Fprintf(table, "%s\t", summary(valuesOf(results, system, name)))
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush()
}

func measures(results []result) []string {
	var names []string
	for _, r := range results {
		for name := range r.Values {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func valuesOf(results []result, system, name string) []float64 {
	var values []float64
	for _, r := range results {
		if v, ok := r.Values[name]; ok && r.System == system {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	return values
}

func summary(sorted []float64) string {
	switch n := len(sorted); n {
	case 0:
		return "-"
	case 1:
		return fmt.Sprintf("%.2f", sorted[0])
	default:
		median := (sorted[(n-1)/2] + sorted[n/2]) / 2
		return fmt.Sprintf("%.2f (%.2f - %.2f)", median, sorted[0], sorted[n-1])
	}
}
