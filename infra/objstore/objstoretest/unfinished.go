package objstoretest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/objstore"
)

// unfinished returns the uploads that have not ended, each of which must be of the keys, as
// far as that is known.
func unfinished(t *testing.T, s objstore.Store, keys ...string) []objstore.Upload {
	t.Helper()
	var all []objstore.Upload
	for u, err := range objstore.Unfinished(t.Context(), s) {
		require.NoError(t, err)
		require.NotEmpty(t, u.ID)
		require.WithinDuration(t, time.Now(), u.Begun, time.Minute)
		if u.Key != "" {
			require.Contains(t, keys, u.Key)
		}
		all = append(all, u)
	}
	return all
}

// testUnfinished: a Put whose body does not end is found, is ended by another, and leaves nothing.
func testUnfinished(t *testing.T, s objstore.Store) {
	keys := []string{"packs/one.pack", "a.two"}
	require.Empty(t, unfinished(t, s))
	hold, results := make(chan struct{}), make(chan error, len(keys))
	for _, key := range keys {
		end := readerFunc(func([]byte) (int, error) { <-hold; return 0, io.EOF })
		body := io.MultiReader(bytes.NewReader(random(17<<20)), end) // beyond a part, so that it is begun
		go func() { results <- s.Put(t.Context(), key, body) }()
	}
	var found []objstore.Upload
	require.Eventually(t, func() bool {
		found = unfinished(t, s, keys...)
		return len(found) == len(keys)
	}, 30*time.Second, 5*time.Millisecond)
	for _, err := range objstore.Unfinished(t.Context(), s) {
		require.NoError(t, err)
		break // it may be left early
	}
	for _, u := range found {
		require.NoError(t, objstore.Abort(t.Context(), s, u))
		require.NoError(t, objstore.Abort(t.Context(), s, u), "it has ended")
	}
	require.Empty(t, unfinished(t, s))
	close(hold)
	for range keys {
		require.Error(t, <-results)
	}
	for _, key := range keys {
		requireAbsent(t, s, key)
		put(t, s, key, "again")
		require.Equal(t, "again", get(t, s, key))
	}
	body := io.MultiReader(bytes.NewReader(random(1000)), iotest.ErrReader(errors.New("broken")))
	require.Error(t, s.Put(t.Context(), "broken", body))
	require.NoError(t, s.Put(t.Context(), "whole", strings.NewReader("x")))
	require.Empty(t, unfinished(t, s), "what has ended in whatever way is not listed")
}
