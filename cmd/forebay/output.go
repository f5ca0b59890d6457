package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// output is the value of -o: how a command prints what it lists or describes.
type output string

const (
	outputTable output = "table"
	outputJSON  output = "json"
)

func (o *output) register(flags *pflag.FlagSet) {
	*o = outputTable
	flags.VarP(o, "output", "o", "output: table or json")
}

// String, Set and Type make output a flag.
func (o *output) String() string { return string(*o) }
func (*output) Type() string     { return "format" }

func (o *output) Set(s string) error {
	switch output(s) {
	case outputTable, outputJSON:
		*o = output(s)
		return nil
	}
	return fmt.Errorf("%q: use table or json", s)
}

// print writes document as JSON, or the tables with an empty line between them.
func (o *output) print(cmd *cobra.Command, document any, tables ...*table) error {
	w := cmd.OutOrStdout()
	if *o == outputJSON {
		return printJSON(w, document)
	}
	var b strings.Builder
	for i, t := range tables {
		if i > 0 {
			b.WriteByte('\n')
		}
		t.write(&b, colored(w))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printJSON writes one document, indented.
func printJSON(w io.Writer, document any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(document)
}

// colored reports whether w takes colors; see https://no-color.org.
func colored(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

// table is text in columns. Columns of numbers are aligned to the right.
type table struct {
	title string // a line above it, or ""
	head  []string
	rows  [][]string
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

func (t *table) write(b *strings.Builder, color bool) {
	if t.title != "" {
		b.WriteString(t.title + "\n")
	}
	widths, numbers := t.measure()
	for i, row := range append([][]string{t.head}, t.rows...) {
		if row == nil {
			continue
		}
		line := formatRow(row, widths, numbers)
		if color && i == 0 {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		b.WriteString(line + "\n")
	}
}

func formatRow(row []string, widths []int, numbers []bool) string {
	var b strings.Builder
	for i, cell := range row {
		if i > 0 {
			b.WriteString("  ")
		}
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		switch {
		case numbers[i]:
			b.WriteString(pad + cell)
		case i == len(row)-1:
			b.WriteString(cell)
		default:
			b.WriteString(cell + pad)
		}
	}
	return b.String()
}

// measure returns the width of each column and whether it holds numbers only.
func (t *table) measure() (widths []int, numbers []bool) {
	for _, row := range append([][]string{t.head}, t.rows...) {
		for len(widths) < len(row) {
			widths, numbers = append(widths, 0), append(numbers, t.head != nil)
		}
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for i := range numbers {
		numbers[i] = numbers[i] && t.numeric(i)
	}
	return widths, numbers
}

// numeric reports whether a column holds numbers, and nothing else but dashes.
func (t *table) numeric(column int) bool {
	found := false
	for _, row := range t.rows {
		if _, err := strconv.ParseFloat(row[column], 64); err == nil {
			found = true
		} else if row[column] != "-" {
			return false
		}
	}
	return found
}
