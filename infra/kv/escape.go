package kv

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Escape makes any non-empty string a valid part of a key: bytes that are not UTF-8, zero
// bytes and "%" become %XX.
func Escape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || r == 0 || r == '%' {
			fmt.Fprintf(&b, "%%%02X", s[i])
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// Unescape is the inverse of Escape. It fails with ErrCorrupt.
func Unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("%w: key %q", ErrCorrupt, s)
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%w: key %q", ErrCorrupt, s)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), nil
}
