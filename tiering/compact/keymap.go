package compact

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
)

// MapConfig says how much a KeyMap may hold. The zero value of a field selects its default.
type MapConfig struct {
	// Budget bounds the memory in bytes: 128 MiB (log.cleaner.dedupe.buffer.size).
	Budget int64
	// Load is how full the table in memory may become: 0.9 (log.cleaner.io.buffer.load.factor).
	Load float64
	// Dir is where keys beyond the budget go; it must exist. "": nowhere, the map becomes full.
	Dir string
	// MaxSpill bounds the bytes of keys in Dir, twice which are used while they are merged; 0: no bound.
	MaxSpill int64
	// FS is the file system of Dir: the machine's.
	FS vfs.FS
}

func (c MapConfig) withDefaults() MapConfig {
	if c.Budget <= 0 {
		c.Budget = 128 << 20
	}
	if c.Load <= 0 || c.Load > 1 {
		c.Load = 0.9
	}
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	return c
}

// Validate reports what makes the configuration impossible.
func (c MapConfig) Validate() error {
	if d := c.withDefaults(); int64(d.Load*float64(d.Budget/entrySize)) < minSlots {
		return fmt.Errorf("a key map of %d bytes cannot hold %d keys: raise log.cleaner.dedupe.buffer.size", c.Budget, minSlots)
	}
	return nil
}

// slots is how many entries a map for at most keys different keys has in memory, 0 if that is not known.
func (c MapConfig) slots(keys int64) int64 {
	n := c.Budget / entrySize
	if keys > 0 {
		n = min(n, max(minSlots, int64(float64(keys)/c.Load)+1))
	}
	return n
}

const (
	hashSize  = 16
	entrySize = hashSize + 8
	minSlots  = 64
)

// entry is the hash of a key and the newest offset at which it was seen, plus 1: 0 is a free slot.
type entry [entrySize]byte

func newEntry(key []byte, o id.Offset) (e entry) {
	sum := sha256.Sum256(key)
	copy(e[:], sum[:hashSize])
	binary.BigEndian.PutUint64(e[hashSize:], uint64(o)+1)
	return e
}

func (e *entry) hash() []byte      { return e[:hashSize] }
func (e *entry) plus1() uint64     { return binary.BigEndian.Uint64(e[hashSize:]) }
func (e *entry) free() bool        { return e.plus1() == 0 }
func (e *entry) offset() id.Offset { return id.Offset(e.plus1() - 1) }

// start is where a hash belongs in a table of n slots.
func (e *entry) start(n int) int { return int(binary.BigEndian.Uint64(e[:]) % uint64(n)) }

// KeyMap maps keys, by a hash of 16 bytes, to the newest offset that was put for them. First
// come the Puts, then Seal, then the Gets. It is for one goroutine.
type KeyMap struct {
	cfg    MapConfig
	slots  []entry
	used   int
	most   int // of used
	spill  *spill
	sorted *sorted // after Seal, if anything was spilled
}

// NewKeyMap makes a map for at most keys different keys, 0 if that is not known. The caller closes it.
func NewKeyMap(cfg MapConfig, keys int64) (*KeyMap, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	n := cfg.slots(keys)
	return &KeyMap{cfg: cfg, slots: make([]entry, n), most: min(int(cfg.Load*float64(n)), int(n)-1)}, nil // one slot stays free, for find to end
}

// Put remembers o as the newest offset of key; it is above those that were put before. ok is
// false if the map is full, and the key is not in it then.
func (m *KeyMap) Put(key []byte, o id.Offset) (ok bool, err error) {
	e := newEntry(key, o)
	slot := m.find(&e)
	if slot.free() {
		if m.used == m.most {
			if ok, err := m.spillAll(); !ok || err != nil {
				return false, err
			}
			slot = m.find(&e)
		}
		m.used++
	}
	*slot = e
	return true, nil
}

// find returns the slot of e's hash, or the free one where it belongs.
func (m *KeyMap) find(e *entry) *entry {
	for i := e.start(len(m.slots)); ; i++ {
		if i == len(m.slots) {
			i = 0
		}
		if s := &m.slots[i]; s.free() || bytes.Equal(s.hash(), e.hash()) {
			return s
		}
	}
}

// spillAll moves what is in memory to a run of the file; ok is false if it may not.
func (m *KeyMap) spillAll() (ok bool, err error) {
	size := int64(m.used) * entrySize
	switch {
	case m.cfg.Dir == "":
		return false, nil
	case m.cfg.MaxSpill > 0 && m.spilling()+2*size > m.cfg.MaxSpill: // what comes after it is spilled, too
		return false, nil
	case m.spill == nil:
		if m.spill, err = newSpill(m.cfg); err != nil {
			return false, err
		}
	}
	taken := m.slots[:0]
	for _, e := range m.slots {
		if !e.free() {
			taken = append(taken, e)
		}
	}
	slices.SortFunc(taken, func(a, b entry) int { return bytes.Compare(a[:], b[:]) })
	if err := m.spill.add(taken); err != nil {
		return false, err
	}
	clear(m.slots)
	m.used = 0
	return true, nil
}

// spilling is the size of the runs, in bytes.
func (m *KeyMap) spilling() int64 {
	if m.spill == nil {
		return 0
	}
	return m.spill.size
}

// Seal ends the Puts: what was spilled is merged into one sorted file.
func (m *KeyMap) Seal() error {
	if m.spill == nil {
		return nil
	}
	m.cfg.MaxSpill = 0 // there is room for the last run
	if _, err := m.spillAll(); err != nil {
		return err
	}
	m.slots = nil // the merge has the budget
	s, err := m.spill.merge(m.cfg.Budget)
	if err != nil {
		return err
	}
	err = m.spill.close()
	m.spill, m.sorted = nil, s
	return err
}

// Get returns the newest offset that was put for key.
func (m *KeyMap) Get(key []byte) (o id.Offset, ok bool, err error) {
	e := newEntry(key, 0)
	if m.sorted != nil {
		return m.sorted.get(&e)
	}
	slot := m.find(&e)
	if slot.free() {
		return 0, false, nil
	}
	return slot.offset(), true, nil
}

// Spilled is how many bytes of keys were written to files.
func (m *KeyMap) Spilled() int64 {
	if m.sorted != nil {
		return m.sorted.size
	}
	return 0
}

// Close releases memory and files.
func (m *KeyMap) Close() error {
	var errs []error
	if m.spill != nil {
		errs = append(errs, m.spill.close())
	}
	if m.sorted != nil {
		errs = append(errs, m.sorted.close())
	}
	m.slots, m.spill, m.sorted = nil, nil, nil
	return errors.Join(errs...)
}
