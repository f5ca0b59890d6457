// Package objstore holds immutable, uniquely named objects: packs and snapshots.
// An object is written once and whole, is never overwritten, and is visible to
// readers either completely or not at all. Nothing becomes true by an object
// alone: package kv decides which objects count. Every Store is safe for concurrent use.
package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Errors of this package; drivers wrap them with the key and the cause.
var (
	// ErrNotFound: there is no object of that name.
	ErrNotFound = errors.New("object not found")
	// ErrExists: an object of that name exists already; it was left as it is.
	ErrExists = errors.New("object exists")
	// ErrInvalidKey: the name is empty, too long, absolute, or has an empty, "." or ".." element.
	ErrInvalidKey = errors.New("invalid object key")
)

// Info describes an object.
type Info struct {
	Key      string
	Size     int64 // bytes
	Modified time.Time
}

// Store is a bucket, or a prefix within one. Keys are slash-separated, UTF-8, at
// most 900 bytes.
type Store interface {
	// Put stores body under key; the object is durable and visible when Put returns
	// nil and, after an error, either absent or whole. It fails with ErrExists.
	Put(ctx context.Context, key string, body io.Reader) error
	// ReadAt fills p from byte off of the object and returns the bytes read. Like
	// io.ReaderAt it returns io.EOF with fewer bytes at the end. It fails with ErrNotFound.
	ReadAt(ctx context.Context, key string, p []byte, off int64) (int, error)
	// Stat describes the object, or fails with ErrNotFound.
	Stat(ctx context.Context, key string) (Info, error)
	// List yields the objects whose keys start with prefix, in bytewise order of
	// key, beginning behind after ("" for the first). It stops after an error.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
	// Delete removes the object; an absent one is no error.
	Delete(ctx context.Context, key string) error
	// Close releases the driver.
	Close() error
}
