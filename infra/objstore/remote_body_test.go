package objstore

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBodyIsTakenBack when an attempt ends: a transport may send on, but the memory is
// the caller's again.
func TestBodyIsTakenBack(t *testing.T) {
	p := payload{data: memory("0123456789"), off: 2, size: 5}
	for range 2 { // attempts
		var kept io.ReadSeeker
		require.NoError(t, p.send(func(u upload) error {
			kept = u.body
			first, err := io.ReadAll(io.LimitReader(u.body, 2))
			require.NoError(t, err)
			require.Equal(t, "23", string(first))
			return nil
		}))
		n, err := kept.Read(make([]byte, 10))
		require.Zero(t, n)
		require.ErrorIs(t, err, errAttemptOver)
		_, err = kept.Seek(0, io.SeekStart)
		require.ErrorIs(t, err, errAttemptOver)
	}
}

// brokenAt is a body that cannot be read from some byte on.
type brokenAt struct {
	*bytes.Reader
	off int64
	err error
}

func (b brokenAt) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.off {
		return 0, b.err
	}
	return b.Reader.ReadAt(p, off)
}

// TestBodyFails while it is sent, which no other attempt mends.
func TestBodyFails(t *testing.T) {
	broken := errors.New("disk broken")
	p := payload{data: brokenAt{bytes.NewReader(make([]byte, 1000)), 100, broken}, size: 1000}
	err := p.send(func(u upload) error {
		_, err := io.Copy(io.Discard, u.body)
		require.ErrorIs(t, err, broken)
		return errors.New("connection lost") // as an SDK may say that
	})
	require.ErrorIs(t, err, broken)
	require.False(t, retryable(err))
	require.Equal(t, err, explain(err, "place"))
}
