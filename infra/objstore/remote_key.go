package objstore

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// How a key becomes the name of an object in a bucket. MinIO keeps the elements of a
// name as file names: it refuses long ones and the byte 0x00, and does not list what is
// below an object ("a/b" if there is "a"). Hence:
//
//   - the bytes up to "!" are written as "!" and two hexadecimal digits;
//   - a key whose last element has no dot ends in "!";
//   - the second and later dots of an element are written as ".+", and the "/" behind an
//     element with a dot as "./";
//   - "/_" is put in behind the character with which an element reaches splitLen bytes.
//
// So packs/2026/1.pack is its own name, and no object's name is a directory of
// another's. Each rule looks only at what came before and keeps the order, hence names
// are ordered as their keys are, and the name of a prefix is a prefix of the names: List
// needs both. Both drivers have the same names, so that a bucket can be copied from one
// store to another.
const (
	endMark   = "!"
	splitLen  = 240 // bytes; a file name has at most 255
	splitMark = "/_"
	maxName   = 1024 // bytes, of every store
	maxPrefix = 100  // bytes of the store's own prefix, which leaves keys some room for escapes
)

// element is what is known of the element under way.
type element struct {
	count  int // bytes since the last slash in the name
	dotted bool
}

// add takes note of a character and the bytes it has in the name, and reports whether splitMark follows.
func (e *element) add(c rune, n int) bool {
	if c == '/' {
		*e = element{}
		return false
	}
	e.dotted = e.dotted || c == '.'
	if e.count += n; e.count < splitLen {
		return false
	}
	e.count = len(splitMark) - 1
	return true
}

// objectNameOf returns the name of a key.
func objectNameOf(key string) string {
	name, e := encodeKey(key)
	if !e.dotted {
		name += endMark
	}
	return name
}

// encodeKey returns what the names of all keys that start with text, which is UTF-8, start with.
func encodeKey(text string) (string, element) {
	var b strings.Builder
	var e element
	for _, c := range text {
		was := b.Len()
		switch {
		case c <= '!':
			fmt.Fprintf(&b, "!%02x", c)
		case c == '.' && e.dotted:
			b.WriteString(".+")
		case c == '/' && e.dotted:
			b.WriteString("./")
		default:
			b.WriteRune(c)
		}
		if e.add(c, b.Len()-was) {
			b.WriteString(splitMark)
		}
	}
	return b.String(), e
}

// keyOf is the inverse of objectNameOf; false means that no key has the name.
func keyOf(name string) (string, bool) {
	var b strings.Builder
	var e element
	for rest := strings.TrimSuffix(name, endMark); rest != ""; {
		c, n := decodeNext(rest, e.dotted)
		b.WriteRune(c)
		rest = rest[n:]
		if e.add(c, n) {
			rest = strings.TrimPrefix(rest, splitMark)
		}
	}
	key := b.String()
	return key, CheckKey(key) == nil && objectNameOf(key) == name
}

// decodeNext returns a character and the bytes it has in the name. What is none of
// encodeKey's may give any.
func decodeNext(rest string, dotted bool) (rune, int) {
	switch {
	case rest[0] == '!' && len(rest) > 2:
		c, _ := strconv.ParseUint(rest[1:3], 16, 8) // keyOf checks
		return rune(c), 3
	case dotted && strings.HasPrefix(rest, ".+"):
		return '.', 2
	case dotted && strings.HasPrefix(rest, "./"):
		return '/', 2
	}
	return utf8.DecodeRuneInString(rest)
}

// span is what a store is asked to list: what List promises may be less, never more.
type span struct{ prefix, after string }

// listSpan returns the span below base that holds the keys that start with prefix and
// are behind after; false means that there can be none. MinIO refuses some
// prefixes and a start that does not begin with the prefix.
func listSpan(base, prefix, after string) (span, bool) {
	if len(prefix) > MaxKey || !mayBegin(prefix) {
		return span{}, false
	}
	if prefix == "." || strings.HasSuffix(prefix, "/.") {
		prefix = strings.TrimSuffix(prefix, ".")
	}
	encoded, _ := encodeKey(validHead(prefix))
	s := span{prefix: base + encoded}
	if len(s.prefix) > maxName {
		return span{}, false
	}
	if after == "" {
		return s, true
	}
	encoded, _ = encodeKey(validHead(after[:min(len(after), MaxKey)]))
	after = validHead((base + encoded)[:min(len(base)+len(encoded), maxName)])
	switch {
	case after <= s.prefix:
		return s, true
	case !strings.HasPrefix(after, s.prefix):
		return span{}, false
	}
	s.after = after
	return s, true
}

// mayBegin reports whether a key can have the elements of the prefix that are complete.
func mayBegin(prefix string) bool {
	elements := strings.Split(prefix, "/")
	for _, element := range elements[:len(elements)-1] {
		if element == "" || element == "." || element == ".." {
			return false
		}
	}
	return true
}

// validHead returns the longest beginning of s that is UTF-8.
func validHead(s string) string {
	for i, c := range s {
		if c == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return s[:i]
			}
		}
	}
	return s
}
