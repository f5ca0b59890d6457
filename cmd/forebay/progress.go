package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// progressEvery is how often a line of progress is drawn anew.
const progressEvery = 200 * time.Millisecond

// progress is one line on standard error that is drawn over, if that is a terminal.
// It is for one goroutine.
type progress struct {
	w    io.Writer // nil when nobody watches
	last time.Time
	open bool
}

func newProgress(cmd *cobra.Command) *progress {
	if w := cmd.ErrOrStderr(); isTerminal(w) {
		return &progress{w: w}
	}
	return &progress{}
}

// show draws the line, unless it was drawn just now.
func (p *progress) show(format string, args ...any) {
	if p.w == nil || time.Since(p.last) < progressEvery {
		return
	}
	p.last, p.open = time.Now(), true
	fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
}

// done removes the line.
func (p *progress) done() {
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.open = false
	}
}

// say prints a line for the person who watches, and nothing if nobody does.
func (p *progress) say(format string, args ...any) {
	p.done()
	if p.w != nil {
		fmt.Fprintf(p.w, format+"\n", args...)
	}
}
