package vfs

// Mem is a file system in memory that can crash.
type Mem struct{ FS }

// NewMem returns an empty file system of unlimited capacity.
func NewMem() *Mem { return &Mem{} }

// SetCapacity limits the space for file data, in bytes; 0 lifts the limit.
func (m *Mem) SetCapacity(bytes int64) {}

// CrashOption alters what survives a Crash.
type CrashOption func(*crash)

type crash struct{}

// KeepUnsynced lets a random part of what was not synced survive, the same part for the same seed.
func KeepUnsynced(seed uint64) CrashOption { return func(*crash) {} }

// Crash ends the file system and returns what is left of it.
func (m *Mem) Crash(opts ...CrashOption) *Mem { return m }
