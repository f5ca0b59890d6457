package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// ErrState means that a file of notes is not of this program, or of another cluster.
var ErrState = errors.New("not the notes of this verification")

// State is a file that notes which objects were read to their end and found whole. Objects
// never change, so a run that is given the notes of an earlier one reads only the footers of
// these. What is damaged is not noted. It is lines of JSON: first the cluster, then each object
// with its size; a line that a crash has cut off is cut off. A nil State notes nothing. It is
// safe for concurrent use.
type State struct {
	mu      sync.Mutex
	file    *os.File
	out     *bufio.Writer
	cluster string
	whole   map[string]int64 // sizes
	unsaved int
}

// stateLine is one line of the file.
type stateLine struct {
	Verify  int    `json:"verify,omitempty"` // version, in the first line
	Cluster string `json:"cluster,omitempty"`
	Object  string `json:"o,omitempty"`
	Size    int64  `json:"s,omitempty"`
}

const (
	stateVersion = 1
	flushEvery   = 64 // objects
)

// OpenState opens a file of notes, or makes it. It fails with ErrState.
func OpenState(path string) (_ *State, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open notes: %w", err)
	}
	s := &State{file: f, out: bufio.NewWriter(f), whole: map[string]int64{}}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("read notes %s: %w", path, err), f.Close())
	}
	return s, nil
}

// load reads the file and goes to the end of its last whole line.
func (s *State) load() error {
	in, end := bufio.NewReader(s.file), int64(0)
	for {
		raw, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // what was cut off is written over
			if err := s.file.Truncate(end); err != nil {
				return err
			}
			_, err := s.file.Seek(end, io.SeekStart)
			return err
		}
		if err != nil {
			return err
		}
		var l stateLine
		if json.Unmarshal(raw, &l) != nil || (end == 0) != (l.Verify == stateVersion && l.Cluster != "") || end > 0 && l.Object == "" {
			return fmt.Errorf("%w: %q", ErrState, bytes.TrimSpace(raw[:min(len(raw), 80)]))
		}
		if end == 0 {
			s.cluster = l.Cluster
		} else {
			s.whole[l.Object] = l.Size
		}
		end += int64(len(raw))
	}
}

// begin makes sure that the notes are of the cluster.
func (s *State) begin(cluster string) error {
	if s == nil || s.cluster == cluster {
		return nil
	}
	if s.cluster != "" {
		return fmt.Errorf("%w: the notes are of cluster %s, the stores of cluster %s; use another file", ErrState, s.cluster, cluster)
	}
	s.cluster = cluster
	return s.write(stateLine{Verify: stateVersion, Cluster: cluster})
}

// has reports whether the object was found whole.
func (s *State) has(name string, size int64) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.whole[name]
	return ok && known == size
}

// note notes that the object was found whole.
func (s *State) note(name string, size int64) error {
	if s == nil || s.cluster == "" || s.has(name, size) {
		return nil
	}
	return s.write(stateLine{Object: name, Size: size})
}

func (s *State) write(l stateLine) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("write notes: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.Object != "" {
		s.whole[l.Object] = l.Size
	}
	if _, err := s.out.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("write notes: %w", err)
	}
	if s.unsaved++; s.unsaved%flushEvery != 1 {
		return nil
	}
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("write notes: %w", err)
	}
	return nil
}

func (s *State) flush() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("write notes: %w", err)
	}
	return nil
}

// Close writes what is not written yet.
func (s *State) Close() error {
	if s == nil {
		return nil
	}
	return errors.Join(s.flush(), s.file.Close())
}
