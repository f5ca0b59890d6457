package collect

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func encodeMarks(t testing.TB, marks ...mark) []byte {
	w := &marksWriter{max: 1 << 20}
	for _, m := range marks {
		require.NoError(t, w.add(m))
	}
	b, err := w.finish()
	require.NoError(t, err)
	return b
}

func decodeMarks(b []byte) (marks []mark, err error) {
	r, err := openMarks(b)
	for err == nil {
		var m mark
		if m, err = r.next(); err == nil {
			marks = append(marks, m)
		}
	}
	if errors.Is(err, io.EOF) && !errors.Is(err, ErrCorrupt) {
		err = nil
	}
	return marks, err
}

func someMarks() []mark {
	var marks []mark
	for i := range 1000 {
		marks = append(marks, mark{key: fmt.Sprintf("cpacks/%06d", i), since: int64(i), size: int64(i) << 20})
	}
	return append(marks, mark{key: "d"})
}

func TestMarksComeBack(t *testing.T) {
	want := someMarks()
	got, err := decodeMarks(encodeMarks(t, want...))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestMarksMustBeInOrder(t *testing.T) {
	w := &marksWriter{max: 1 << 20}
	require.NoError(t, w.add(mark{key: "b"}))
	require.Error(t, w.add(mark{key: "b"}))
	require.Error(t, w.add(mark{key: "a"}))
}

func TestEveryDamageToMarksIsFound(t *testing.T) {
	whole := encodeMarks(t, someMarks()[:20]...)
	for i := range whole {
		b := append([]byte{}, whole...)
		b[i] ^= 0x10
		_, err := decodeMarks(b)
		require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "byte %d: %v", i, err)
		_, err = decodeMarks(whole[:i])
		require.ErrorIs(t, err, ErrCorrupt, "the first %d bytes", i)
	}
	b := append([]byte{}, whole...)
	b[8] = marksVersion + 1
	_, err := decodeMarks(b)
	require.ErrorIs(t, err, ErrVersion)
}

// FuzzMarks: whatever the bytes, decoding ends; what it returns is in order and is encoded to
// what decodes to the same.
func FuzzMarks(f *testing.F) {
	f.Add(encodeMarks(f, someMarks()[:5]...))
	f.Add([]byte(marksMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		marks, err := decodeMarks(b)
		if err != nil || len(marks) == 0 {
			return
		}
		again, err := decodeMarks(encodeMarks(t, marks...))
		require.NoError(t, err)
		require.Equal(t, marks, again)
	})
}
