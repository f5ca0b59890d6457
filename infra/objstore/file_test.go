package objstore

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/vfs"
)

func TestFilePathOfKeys(t *testing.T) {
	x80 := strings.Repeat("x", 80)
	for key, want := range map[string]string{
		"1.pack":                 "1.pack",
		"packs/00ff/1.pack":      "packs.d/00ff.d/1.pack",
		"a.d":                    "a%2ed",
		"a.d/b":                  "a.d.d/b",
		"%tmp/ä b":               "%25tmp.d/%c3%a4%20b",
		x80:                      x80 + "%+/%-",
		x80 + "..":               x80 + "%+/%2e.",
		x80 + x80 + "yz/" + "1":  x80 + "%+/" + x80 + "%+/yz.d/1",
		strings.Repeat("%", 100): strings.Repeat("%25", 80) + "%+/" + strings.Repeat("%25", 20),
	} {
		require.Equal(t, want, filePath(key))
	}
	for _, name := range []string{tempDir, lockName, "%2", "%zz", "%61", "a%2eb", "%+", "x%+", x80, "%61.d", "ä", "a b"} {
		_, kind := parseName(name)
		require.Equal(t, nodeForeign, kind, "%q", name)
	}
}

// TestFilePathIsReversible draws keys that nearly collide: their paths must be
// distinct, fit a file system, lead back to the key, and never lie below one another.
func TestFilePathIsReversible(t *testing.T) {
	element := rapid.Custom(func(t *rapid.T) string {
		base := rapid.SampledFrom([]string{"", "x", strings.Repeat("x", 79), strings.Repeat("x", 80), strings.Repeat("%", 160)}).Draw(t, "base")
		tail := rapid.SampledFrom([]string{"", ".d", ".", "..", "%+", "%-", "%2ed", "/", "ä", "x"}).Draw(t, "tail")
		return base + tail
	})
	key := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(element, 1, 4).Draw(t, "elements"), "/")
	}).Filter(func(key string) bool { return CheckKey(key) == nil })
	rapid.Check(t, func(t *rapid.T) {
		a, b := key.Draw(t, "a"), key.Draw(t, "b")
		path := filePath(a)
		var parsed strings.Builder
		names := strings.Split(path, "/")
		for i, name := range names {
			text, kind := parseName(name)
			require.NotEqual(t, nodeForeign, kind, "%q", name)
			require.Equal(t, i == len(names)-1, kind == nodeObject, "%q", name)
			require.LessOrEqual(t, len(name), 255)
			parsed.WriteString(text)
		}
		require.Equal(t, a, parsed.String())
		if a != b {
			require.NotEqual(t, path, filePath(b))
			require.False(t, strings.HasPrefix(filePath(b), path+"/"))
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, name := range []string{"", "a", "a.d", ".d", "%-", "%+", "a%2ed", "%tmp", "%c3%a4.d", strings.Repeat("%25", 80) + "%+"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		// What is not foreign is exactly what filePath writes for it.
		text, kind := parseName(name)
		switch kind {
		case nodeObject:
			if got := objectName(text); got != name {
				t.Fatalf("%q means %q, which is written %q", name, text, got)
			}
		case nodeDir:
			if got := escape(strings.TrimSuffix(text, "/")) + dirSuffix; got != name {
				t.Fatalf("%q means %q, which is written %q", name, text, got)
			}
		case nodePiece:
			if got := escape(text) + pieceSuffix; got != name || len(text) != pieceLen {
				t.Fatalf("%q means %q, which is written %q", name, text, got)
			}
		}
	})
}

func TestPutWritesFullBuffers(t *testing.T) {
	var lengths []int64
	fsys := vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite {
			lengths = append(lengths, op.Length)
		}
		return nil
	})
	s, err := OpenFile(fsys, "/objects")
	require.NoError(t, err)
	body := iotest.HalfReader(bytes.NewReader(make([]byte, 2*copyBuffer+100)))
	require.NoError(t, s.Put(t.Context(), "object", body))
	require.Equal(t, []int64{copyBuffer, copyBuffer, 100}, lengths)

	require.ErrorIs(t, s.Put(t.Context(), "stuck", idleReader{}), io.ErrNoProgress)
}

// idleReader returns neither bytes nor an error.
type idleReader struct{}

func (idleReader) Read([]byte) (int, error) { return 0, nil }

func TestHandlesAreFewAndClosed(t *testing.T) {
	var opened, closed []string
	m := vfs.NewMem()
	s, err := OpenFile(vfs.Inject(m, func(op vfs.Op) error {
		switch op.Kind {
		case vfs.OpOpen:
			opened = append(opened, path.Base(op.Name))
		case vfs.OpClose:
			closed = append(closed, path.Base(op.Name))
		}
		return nil
	}), "/objects")
	require.NoError(t, err)
	read := func(key string) {
		t.Helper()
		p := make([]byte, 1)
		n, err := s.ReadAt(t.Context(), key, p, 0)
		require.NoError(t, err)
		require.Equal(t, key[:1], string(p[:n]))
	}
	keys := make([]string, maxHandles+1)
	for i := range keys {
		keys[i] = fmt.Sprint(i, ".pack")
		require.NoError(t, s.Put(t.Context(), keys[i], strings.NewReader(keys[i])))
	}
	opened, closed = nil, nil
	for range 3 {
		read(keys[0])
	}
	require.Len(t, opened, 1, "one open for many reads")
	for _, key := range keys {
		read(key)
	}
	require.Len(t, opened, maxHandles+1)
	require.Equal(t, keys[:1], closed, "the one used longest ago")
	require.NoError(t, s.Delete(t.Context(), keys[5]))
	require.Len(t, closed, 2)
	_, err = s.ReadAt(t.Context(), keys[5], make([]byte, 1), 0)
	require.ErrorIs(t, err, ErrNotFound)
	require.NoError(t, s.Close())
	opened = opened[:len(keys)] // not the one that found no file
	slices.Sort(opened)
	slices.Sort(closed)
	require.Equal(t, opened, closed)
}

// TestADeletedFileIsNotKept deletes an object after a read has opened its file
// and before it keeps the file for the next.
func TestADeletedFileIsNotKept(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.OpenFile("object", os.O_RDWR|os.O_CREATE, 0o644)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	c := newHandles(m, 2)
	_, removed, err := c.lookup("object")
	require.NoError(t, err)
	opened, err := m.Open("object")
	require.NoError(t, err)
	require.NoError(t, m.Remove("object"))
	c.forget("object")
	h, unused := c.insert("object", opened, removed)
	require.Empty(t, unused)
	_, err = h.file.Size()
	require.NoError(t, err, "the read that has it may end")
	c.release(h)
	_, err = h.file.Size()
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = c.acquire("object")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestAFileInUseOutlivesItsPlace evicts, forgets and closes files under a reader.
func TestAFileInUseOutlivesItsPlace(t *testing.T) {
	m := vfs.NewMem()
	for _, name := range []string{"a", "b", "c"} {
		f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	c := newHandles(m, 1)
	var held []*handle
	for _, name := range []string{"a", "b", "c"} { // each drives out the one before
		h, err := c.acquire(name)
		require.NoError(t, err)
		held = append(held, h)
	}
	again, err := c.acquire("c")
	require.NoError(t, err)
	require.Same(t, held[2], again)
	c.close()
	for _, h := range append(held, again) {
		_, err := h.file.Size()
		require.NoError(t, err)
		c.release(h)
	}
	for _, h := range held {
		_, err := h.file.Size()
		require.ErrorIs(t, err, os.ErrClosed)
	}
	_, err = c.acquire("a")
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestTempsOfALiveProcessStay(t *testing.T) {
	m := vfs.NewMem()
	first, err := OpenFile(m, "/objects")
	require.NoError(t, err)
	started, opened := make(chan struct{}), make(chan struct{})
	body := readerFunc(func([]byte) (int, error) {
		close(started)
		<-opened
		return 0, io.EOF
	})
	result := make(chan error)
	go func() { result <- first.Put(t.Context(), "object", body) }()
	<-started
	second, err := OpenFile(m, "/objects")
	require.NoError(t, err)
	close(opened)
	require.NoError(t, <-result)
	_, err = second.Stat(t.Context(), "object")
	require.NoError(t, err)
	require.NoError(t, second.Close())
	require.NoError(t, first.Close())
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
