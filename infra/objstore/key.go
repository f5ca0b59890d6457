package objstore

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxKey is the longest key, in bytes.
const MaxKey = 900

// CheckKey returns an error that wraps ErrInvalidKey unless every driver can store key.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("check key: %w: it is empty", ErrInvalidKey)
	case len(key) > MaxKey:
		return fmt.Errorf("check key %q: %w: %d bytes, the limit is %d", key, ErrInvalidKey, len(key), MaxKey)
	case !utf8.ValidString(key):
		return fmt.Errorf("check key %q: %w: not UTF-8", key, ErrInvalidKey)
	}
	for element := range strings.SplitSeq(key, "/") {
		if element == "" || element == "." || element == ".." {
			return fmt.Errorf("check key %q: %w: element %q", key, ErrInvalidKey, element)
		}
	}
	return nil
}

// checkCall is what every call on one object begins with.
func checkCall(ctx context.Context, op, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s object %q: %w", op, key, err)
	}
	return nil
}
