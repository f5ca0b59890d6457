package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/forebaylog/forebay/infra/vfs"
)

// Config says where a journal lives and how large its parts are.
type Config struct {
	Dir          string        // of the segments, in FS; made if absent
	IndexDir     string        // of the index, on the real file system; "" keeps it in memory
	FS           vfs.FS        // default vfs.OS()
	SegmentBytes int64         // default 128 MiB
	SegmentAge   time.Duration // default 10 minutes; a non-empty segment is rolled then
	TailBytes    int64         // default 32 MiB; batches kept in memory for readers
	Cluster      string        // cluster id; segments of another cluster are refused
	Now          func() time.Time
	Logger       *slog.Logger
}

const (
	defaultSegmentBytes = 128 << 20
	defaultSegmentAge   = 10 * time.Minute
	defaultTailBytes    = 32 << 20
	minSegmentBytes     = 4 << 10
	maxSegmentBytes     = 2 << 30
	maxClusterLen       = 64
)

func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = defaultSegmentBytes
	}
	if c.SegmentAge == 0 {
		c.SegmentAge = defaultSegmentAge
	}
	if c.TailBytes == 0 {
		c.TailBytes = defaultTailBytes
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("configure journal: Dir is empty")
	case c.Cluster == "":
		return errors.New("configure journal: Cluster is empty")
	case len(c.Cluster) > maxClusterLen:
		return fmt.Errorf("configure journal: cluster id has %d bytes, at most %d fit", len(c.Cluster), maxClusterLen)
	case c.SegmentBytes < minSegmentBytes || c.SegmentBytes > maxSegmentBytes:
		return fmt.Errorf("configure journal: SegmentBytes is %d, want %d to %d", c.SegmentBytes, minSegmentBytes, maxSegmentBytes)
	case c.SegmentAge < 0:
		return fmt.Errorf("configure journal: SegmentAge is %s, want more than zero", c.SegmentAge)
	case c.TailBytes < 0:
		return fmt.Errorf("configure journal: TailBytes is %d, want zero or more", c.TailBytes)
	}
	return nil
}
