package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// Badger ends the process, from a goroutine of its own, when some of its files are
// damaged, and a panic there cannot be recovered. So it only ever opens a directory
// that is byte for byte what it closed: on a clean close the size and CRC32C of each
// file go into the seal; without a seal that matches the index is made anew.
const sealName = "SEAL"

var errUnsealed = fmt.Errorf("it was not closed cleanly: %w", errIndex)

// fileSum is one file of the index.
type fileSum struct {
	Size int64  `json:"size"`
	CRC  uint32 `json:"crc32c"`
}

// sumFiles reads the files of an index directory, but for the seal and Badger's lock.
func sumFiles(dir string) (map[string]fileSum, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	sums := map[string]fileSum{}
	for _, f := range files {
		if f.Name() == sealName || f.Name() == "LOCK" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		sums[f.Name()] = fileSum{int64(len(b)), crc32.Checksum(b, castagnoli)}
	}
	return sums, nil
}

func putSeal(dir string) error {
	sums, err := sumFiles(dir)
	if err != nil {
		return fmt.Errorf("seal index: %w", err)
	}
	b, err := json.Marshal(sums)
	if err != nil {
		return fmt.Errorf("seal index: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, sealName), b, 0o644); err != nil {
		return fmt.Errorf("seal index: %w", err)
	}
	return nil
}

// checkSeal reports, as an error that matches errIndex, whether a directory differs from its seal.
func checkSeal(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, sealName))
	if errors.Is(err, fs.ErrNotExist) {
		return errUnsealed
	}
	if err != nil {
		return fmt.Errorf("read seal of index: %w: %w", errIndex, err)
	}
	var want map[string]fileSum
	if err := json.Unmarshal(b, &want); err != nil {
		return fmt.Errorf("read seal of index: %w: %w", errIndex, err)
	}
	got, err := sumFiles(dir)
	if err != nil {
		return fmt.Errorf("check index: %w: %w", errIndex, err)
	}
	if !maps.Equal(want, got) {
		return fmt.Errorf("its files are not as they were closed: %w", errIndex)
	}
	return nil
}

// takeSeal checks and removes the seal: from here on the files change.
func takeSeal(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read index directory: %w", err)
	}
	if len(files) == 0 {
		return nil // new
	}
	if err := checkSeal(dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, sealName)); err != nil {
		return fmt.Errorf("unseal index: %w", err)
	}
	return nil
}
