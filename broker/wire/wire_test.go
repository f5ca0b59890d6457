package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// frame is p with its size in front.
func frame(p []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...)
}

func TestFrameReader(t *testing.T) {
	short := []byte("12345678")
	long := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	for _, tc := range []struct {
		name  string
		input []byte
		want  [][]byte
		err   error
	}{
		{"none", nil, nil, io.EOF},
		{"one", frame(short), [][]byte{short}, io.EOF},
		{"several, one beyond the buffer", append(append(frame(short), frame(long)...), frame(short)...), [][]byte{short, long, short}, io.EOF},
		{"cut in the size", frame(short)[:3], nil, io.ErrUnexpectedEOF},
		{"cut behind the size", frame(short)[:4], nil, io.ErrUnexpectedEOF},
		{"cut in the body", frame(short)[:9], nil, io.ErrUnexpectedEOF},
		{"cut in a long body", frame(long)[:30_000], nil, io.ErrUnexpectedEOF},
		{"negative size", []byte{0xff, 0xff, 0xff, 0xff, 1}, nil, ErrMalformed},
		{"smaller than a header", frame(short[:7]), nil, ErrMalformed},
		{"above the limit", append(binary.BigEndian.AppendUint32(nil, 1<<17+1), 1), nil, ErrTooLarge},
		{"the largest size", []byte{0x7f, 0xff, 0xff, 0xff, 1}, nil, ErrTooLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, r := range []io.Reader{bytes.NewReader(tc.input), iotest.OneByteReader(bytes.NewReader(tc.input))} {
				got, err := readAll(NewFrameReader(r), 1<<17)
				require.ErrorIs(t, err, tc.err)
				require.Equal(t, tc.want, got)
			}
		})
	}
}

// readAll reads frames up to an error.
func readAll(f *FrameReader, limit int32) (frames [][]byte, err error) {
	for {
		if err := f.Wait(); err != nil {
			return frames, err
		}
		size, err := f.Size(limit)
		if err != nil {
			return frames, err
		}
		p, err := f.Body(size)
		if err != nil {
			return frames, err
		}
		frames = append(frames, p)
	}
}

// Memory for a frame is taken only once it has begun to arrive.
func TestFrameReaderAllocatesLate(t *testing.T) {
	r := NewFrameReader(bytes.NewReader(binary.BigEndian.AppendUint32(nil, 1<<30)))
	size, err := r.Size(1 << 30)
	require.NoError(t, err)
	allocated := testing.AllocsPerRun(1, func() {
		_, err = r.Body(size)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
	require.Less(t, allocated, 20.0)
}

func TestParseHeader(t *testing.T) {
	prefix := []byte{0, 3, 0, 12, 0, 0, 0, 9}
	for _, tc := range []struct {
		name     string
		header   []byte
		flexible bool
		client   string
		rest     string
		bad      bool
	}{
		{name: "plain", header: []byte("\x00\x02idrest"), client: "id", rest: "rest"},
		{name: "null client id", header: []byte("\xff\xffrest"), rest: "rest"},
		{name: "empty client id", header: []byte("\x00\x00"), rest: ""},
		{name: "flexible", header: []byte("\x00\x02id\x00rest"), flexible: true, client: "id", rest: "rest"},
		{name: "tags are skipped", header: []byte("\x00\x00\x02\x00\x01a\x05\x02bcrest"), flexible: true, rest: "rest"},
		{name: "no client id", header: []byte("\x00"), bad: true},
		{name: "client id longer than the frame", header: []byte("\x00\x09id"), bad: true},
		{name: "client id of negative length", header: []byte("\xff\xfeid"), bad: true},
		{name: "no tags", header: []byte("\x00\x00"), flexible: true, bad: true},
		{name: "more tags than bytes", header: []byte("\x00\x00\xff\xff\xff\xff\x0f"), flexible: true, bad: true},
		{name: "tag longer than the frame", header: []byte("\x00\x00\x01\x00\xff\xff\xff\xff\x0f"), flexible: true, bad: true},
		{name: "varint beyond 32 bits", header: []byte("\x00\x00\xff\xff\xff\xff\xff\x7f"), flexible: true, bad: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, rest, err := ParseHeader(append(bytes.Clone(prefix), tc.header...), tc.flexible)
			if tc.bad {
				require.ErrorIs(t, err, ErrMalformed)
				return
			}
			require.NoError(t, err)
			require.Equal(t, Header{Key: kmsg.Metadata, Version: 12, CorrelationID: 9, ClientID: tc.client}, h)
			require.Equal(t, tc.rest, string(rest))
		})
	}
	_, err := ParsePrefix(prefix[:7])
	require.ErrorIs(t, err, ErrMalformed)
}

func TestAppendResponseHeader(t *testing.T) {
	require.Equal(t, []byte{0, 0, 1, 2}, AppendResponseHeader(nil, kmsg.Metadata, 258, false))
	require.Equal(t, []byte{0, 0, 1, 2, 0}, AppendResponseHeader(nil, kmsg.Metadata, 258, true))
	require.Equal(t, []byte{0, 0, 1, 2}, AppendResponseHeader(nil, kmsg.ApiVersions, 258, true))
}

func TestValidSoftware(t *testing.T) {
	for s, want := range map[string]bool{
		"apache-kafka-java": true, "1.2.3": true, "a": true, "A9": true,
		"": false, "-a": false, "a-": false, ".a": false, "a b": false, "ä": false, "a_b": false,
	} {
		require.Equal(t, want, ValidSoftware(s), "%q", s)
	}
}

func TestBuffers(t *testing.T) {
	large := bytes.Repeat([]byte{7}, minRef)
	var b Buffers
	require.Empty(t, b.Vector())
	b.Frame(func(b *Buffers) {
		b.Append(func(dst []byte) []byte { return append(dst, "head"...) })
		b.Ref(large)
		b.Ref([]byte("small"))
	})
	start := b.Mark()
	b.Frame(func(b *Buffers) { b.Ref(large); b.Ref(large) })
	second := b.Len()
	require.Equal(t, append(append([]byte("\x00\x00\x04\x09head"), large...), "small"...), joined(&b)[:start.len])
	require.Equal(t, second, len(joined(&b)))
	require.Same(t, &large[0], &b.Vector()[1][0], "large memory is not copied")

	b.Cut(start)
	require.Equal(t, start.len, b.Len())
	require.Len(t, joined(&b), start.len)
	b.Reset()
	require.Zero(t, b.Len())
	require.Empty(t, joined(&b))
}

func joined(b *Buffers) []byte { return bytes.Join(b.Vector(), nil) }

// FuzzHeader: a header parses or is malformed, never panics, and what is left lies
// within the frame.
func FuzzHeader(f *testing.F) {
	f.Add([]byte{0, 3, 0, 12, 0, 0, 0, 9, 0, 2, 'i', 'd', 0}, true)
	f.Add([]byte{0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 1, 0, 1, 'x'}, true)
	f.Add([]byte{0, 0, 0, 3, 0, 0, 0, 1, 0, 0}, false)
	f.Fuzz(func(t *testing.T, frame []byte, flexible bool) {
		h, rest, err := ParseHeader(frame, flexible)
		if err != nil {
			require.True(t, errors.Is(err, ErrMalformed))
			return
		}
		require.True(t, bytes.HasSuffix(frame, rest))
		require.True(t, strings.Contains(string(frame), h.ClientID))
	})
}
