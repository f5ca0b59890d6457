package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"
)

// Below these a disk is full soon, and slow for a log.
const (
	diskFree = 2 << 30
	diskSync = 50 * time.Millisecond
)

// checkDataDir writes a small file where a broker would have its hot segments, and sees how long it takes
// to be durable, and what room is left.
func checkDataDir(dir string) (string, error) {
	f, err := os.CreateTemp(dir, "doctor-*")
	if err != nil {
		return dir, mendable("make the directory and let the broker's user write to it", "%w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer f.Close()
	began := time.Now()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return dir, mendable("make room on the disk, or give another one", "%w", err)
	}
	if err := f.Sync(); err != nil {
		return dir, mendable("replace the disk", "%w", err)
	}
	sync := time.Since(began)
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return dir, fmt.Errorf("read the room left: %w", err)
	}
	free := stat.Bavail * uint64(stat.Bsize) //nolint:gosec,unconvert // the types differ by system; a size is positive
	found := fmt.Sprintf("%s: %s free, 4 KiB durable in %v", dir, humanize.IBytes(free), sync.Round(10*time.Microsecond))
	switch {
	case free < diskFree:
		return found, warn("give the broker a larger disk, or a smaller --hot-bytes", "%w", errors.New("little room is left"))
	case sync > diskSync:
		return found, warn("use a local SSD or gp3: on a node alone each group commit waits for this", "%w", errors.New("the disk is slow"))
	}
	return found, nil
}
