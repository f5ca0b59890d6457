package kv

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxKey is the length in bytes that Part and Sort together stay below.
const maxKey = 1 << 10

// String returns part/sort, quoted, for messages.
func (k Key) String() string { return fmt.Sprintf("%q/%q", k.Part, k.Sort) }

// Validate fails with ErrInvalidKey unless both parts are non-empty UTF-8 without
// the byte 0x00 and together shorter than 1 KiB.
func (k Key) Validate() error {
	switch {
	case !validPart(k.Part) || !validPart(k.Sort):
		return fmt.Errorf("%w: %v: want non-empty UTF-8 without zero bytes", ErrInvalidKey, k)
	case len(k.Part)+len(k.Sort) >= maxKey:
		return fmt.Errorf("%w: %d bytes, want less than %d", ErrInvalidKey, len(k.Part)+len(k.Sort), maxKey)
	default:
		return nil
	}
}

func validPart(s string) bool {
	return s != "" && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// holds reports whether the condition of w is met by the item that is there now.
func (w Write) holds(exists bool, version Version) bool {
	switch {
	case w.Any:
		return true
	case w.If == "":
		return !exists
	default:
		return exists && version == w.If
	}
}

// drawNonce returns the nonce of this write, raw and as a Version.
func (w Write) drawNonce() ([nonceSize]byte, Version) {
	if w.nonce == nil {
		nonce := newNonce()
		return nonce, encodeNonce(nonce)
	}
	return *w.nonce, encodeNonce(*w.nonce)
}

const nonceSize = 16

func newNonce() (nonce [nonceSize]byte) {
	_, _ = rand.Read(nonce[:]) // never fails since Go 1.24
	return nonce
}

func encodeNonce(nonce [nonceSize]byte) Version {
	return Version(base64.RawURLEncoding.EncodeToString(nonce[:]))
}

func checkRead(ctx context.Context, key Key) error {
	if err := key.Validate(); err != nil {
		return fmt.Errorf("get: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("get %v: %w", key, err)
	}
	return nil
}

func checkQuery(ctx context.Context, part string) error {
	if err := (Key{Part: part, Sort: "-"}).Validate(); err != nil {
		return fmt.Errorf("query: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("query %q: %w", part, err)
	}
	return nil
}

func checkWrite(ctx context.Context, w Write) error {
	if err := w.Key.Validate(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if len(w.Value) > MaxValue && !w.Delete {
		return fmt.Errorf("write %v: %w: %d bytes, at most %d", w.Key, ErrTooLarge, len(w.Value), MaxValue)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write %v: %w", w.Key, err)
	}
	return nil
}

// PutIfAbsent stores value if there is no item under key, and fails with
// ErrConflict if there is. The version is set also with ErrUnknown, for Resolve.
func PutIfAbsent(ctx context.Context, s Store, key Key, value []byte) (Version, error) {
	return one(ctx, s, Write{Key: key, Value: value})
}

// PutIf replaces the item if it has the version ver, and fails with ErrConflict if
// it has another or is gone. The version is set also with ErrUnknown, for Resolve.
func PutIf(ctx context.Context, s Store, key Key, value []byte, ver Version) (Version, error) {
	return one(ctx, s, Write{Key: key, Value: value, If: ver})
}

// Delete removes the item if it has the version ver, or whatever it is when ver is "".
func Delete(ctx context.Context, s Store, key Key, ver Version) error {
	_, err := one(ctx, s, Write{Key: key, Delete: true, If: ver, Any: ver == ""})
	return err
}

func one(ctx context.Context, s Store, w Write) (Version, error) {
	r := s.Write(ctx, w)[0]
	return r.Version, r.Err
}

// Resolve finds out about a put of unknown outcome: it reports whether the item
// under key is the one that the write of version ver made. False means that the
// write has not been applied so far, or that another has replaced or removed the item
// since; a write that is still on its way may be applied after Resolve returns.
func Resolve(ctx context.Context, s Store, key Key, ver Version) (applied bool, err error) {
	item, err := s.Get(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("resolve write of %v: %w", key, err)
	default:
		return item.Version == ver, nil
	}
}
