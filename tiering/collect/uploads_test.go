package collect_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/objstore"
)

// uploading is a store in which uploads of these keys have begun long ago.
type uploading struct {
	*objstore.Mem
	keys    []string
	aborted []string
}

func (s *uploading) Unfinished(context.Context) iter.Seq2[objstore.Upload, error] {
	return func(yield func(objstore.Upload, error) bool) {
		for _, key := range s.keys {
			if !yield(objstore.Upload{Key: key, ID: "1", Begun: time.Unix(1, 0)}, nil) {
				return
			}
		}
	}
}

func (s *uploading) Abort(_ context.Context, u objstore.Upload) error {
	s.aborted = append(s.aborted, u.Key)
	return nil
}

// Others may share the bucket.
func TestUploadsOfOthersGoOn(t *testing.T) {
	w := newWorld(t)
	ours := []string{"packs/a", "wal/s/b.pack", "metalog/c", "collector/d", ""}
	s := &uploading{Mem: w.objects, keys: append([]string{"backup.tar", "packs-of-others/e"}, ours...)}
	cfg := w.config()
	cfg.Objects = s
	require.EqualValues(t, len(ours), w.run(cfg).Uploads.Removed)
	require.Equal(t, ours, s.aborted)
}
