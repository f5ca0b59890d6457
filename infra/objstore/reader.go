package objstore

import (
	"context"
	"fmt"
	"io"
)

// contextReader ends with the context's error between two reads.
type contextReader struct {
	ctx  context.Context //nolint:containedctx // lives for one Put
	body io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.body.Read(p)
}

// negativeOffset is the error of a ReadAt before the start of an object.
func negativeOffset(key string, off int64) error {
	return fmt.Errorf("read object %q: negative offset %d", key, off)
}
