package objstore

import (
	"fmt"
	"strconv"
	"strings"
)

// How a key becomes a path. Keys may be longer than file names, contain what file
// systems forbid, and one key may be a directory of another ("a" and "a/b"), hence:
//
//   - bytes outside of "!" to "~", and "%", are written as "%" and two hexadecimal digits;
//   - an element that is a directory gets the suffix ".d"; in the name of an object, the dot
//     of a final ".d" is escaped;
//   - an element of 80 bytes or more has its first 80 bytes in a directory with
//     the suffix "%+", and the rest within; an empty rest is "%-".
//
// So packs/00ff/1.pack is the file packs.d/00ff.d/1.pack, and no key has a path
// that starts with "%tmp" or "%lock".
const (
	pieceLen    = 80
	dirSuffix   = ".d"
	pieceSuffix = "%+"
	emptyName   = "%-"
)

// filePath returns the path of an object relative to the store.
func filePath(key string) string {
	elements := strings.Split(key, "/")
	var names []string
	for i, rest := range elements {
		for len(rest) >= pieceLen {
			names = append(names, escape(rest[:pieceLen])+pieceSuffix)
			rest = rest[pieceLen:]
		}
		if i < len(elements)-1 {
			names = append(names, escape(rest)+dirSuffix)
		} else {
			names = append(names, objectName(rest))
		}
	}
	return strings.Join(names, "/")
}

// objectName escapes the last piece of a key.
func objectName(rest string) string {
	name := escape(rest)
	switch {
	case name == "":
		return emptyName
	case name == "." || name == "..":
		return "%2e" + name[1:]
	case strings.HasSuffix(name, dirSuffix):
		return strings.TrimSuffix(name, dirSuffix) + "%2ed"
	}
	return name
}

// nodeKind is what a directory entry stands for.
type nodeKind uint8

const (
	nodeForeign nodeKind = iota // not of this store
	nodeObject
	nodeDir // text ends with "/"
	nodePiece
)

// parseName is the inverse of filePath for one name: the text that the name adds to the key.
func parseName(name string) (text string, kind nodeKind) {
	if escaped, ok := strings.CutSuffix(name, pieceSuffix); ok {
		text, ok = unescape(escaped)
		return text, kindIf(nodePiece, ok && len(text) == pieceLen && escape(text) == escaped)
	}
	if escaped, ok := strings.CutSuffix(name, dirSuffix); ok {
		text, ok = unescape(escaped)
		return text + "/", kindIf(nodeDir, ok && len(text) < pieceLen && escape(text) == escaped)
	}
	if name == emptyName {
		return "", nodeObject
	}
	text, ok := unescape(name)
	return text, kindIf(nodeObject, ok && len(text) < pieceLen && objectName(text) == name)
}

func kindIf(kind nodeKind, ok bool) nodeKind {
	if ok {
		return kind
	}
	return nodeForeign
}

func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < '!' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+3 > len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}
