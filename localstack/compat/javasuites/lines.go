package javasuites

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

// lines is a writer that hands on what it gets line by line. It is safe for concurrent use.
type lines struct {
	name string // of who writes
	log  io.Writer
	each func(line string) // nil if none listens; returns soon

	mu   sync.Mutex
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte{'\n'})
		if !found {
			return len(p), nil
		}
		l.rest = rest
		l.one(strings.TrimSuffix(string(line), "\r"))
	}
}

func (l *lines) one(line string) {
	if !strings.HasPrefix(line, "{") { // an event of a tool: there is one for every record
		fmt.Fprintf(l.log, "%s: %s\n", l.name, line)
	}
	if l.each != nil {
		l.each(line)
	}
}

// shared is a writer that several goroutines may use.
type shared struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}
