package seal

import (
	"errors"
	"math/rand/v2"
	"time"
)

// Stats are counts since the Sealer was made, and what is left to do.
type Stats struct {
	Packs        int64 // uploaded
	Segments     int64 // appended to chains
	Records      int64 // in them
	Bytes        int64 // of batches in them
	Taken        int64 // segments that another sealer was faster with
	Dropped      int64 // hot segments
	DroppedBytes int64
	LagSegments  int   // rolled hot segments that hold unsealed batches
	LagBytes     int64 // their size
	// Oldest is when the oldest hot segment, rolled or not, that holds unsealed batches was begun; zero
	// if there is none.
	Oldest        time.Time
	LastError     error // of the last round; nil if it succeeded
	FailingSince  time.Time
	FailureStreak int // rounds failed in a row
}

// Stats returns the counts.
func (s *Sealer) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

func (s *Sealer) count(f func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}

// noteResult keeps the outcome of a round and logs it if it differs from the last.
func (s *Sealer) noteResult(err error) {
	if errors.Is(err, ErrPaused) {
		return // as it was asked to
	}
	s.mu.Lock()
	last, streak := s.stats.LastError, s.stats.FailureStreak
	s.stats.LastError = err
	if err == nil {
		s.stats.FailureStreak, s.stats.FailingSince = 0, time.Time{}
	} else if s.stats.FailureStreak++; last == nil {
		s.stats.FailingSince = s.cfg.Now()
	}
	lag := s.stats.LagBytes
	s.mu.Unlock()
	switch {
	case err != nil && (last == nil || cause(err) != cause(last)):
		s.cfg.Logger.Error("cannot seal hot segments, trying again", "error", err, "lagBytes", lag)
	case err == nil && last != nil:
		s.cfg.Logger.Info("sealing hot segments again", "failures", streak)
	}
}

// cause returns the text at the bottom of err: what is above it names objects that
// differ with each attempt.
func cause(err error) string {
	for {
		switch wrapped := err.(type) { //nolint:errorlint // walks the tree itself
		case interface{ Unwrap() []error }:
			errs := wrapped.Unwrap()
			if len(errs) == 0 {
				return err.Error()
			}
			err = errs[len(errs)-1]
		default:
			next := errors.Unwrap(err)
			if next == nil {
				return err.Error()
			}
			err = next
		}
	}
}

// Bounds of the wait after a failure.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// backoff is how long to wait after so many failures in a row: twice as long each
// time, within bounds, of which a random half is left out.
func backoff(failures int) time.Duration {
	d := maxBackoff
	if shift := failures - 1; shift < 8 {
		d = min(d, minBackoff<<shift)
	}
	return d/2 + rand.N(d/2)
}
