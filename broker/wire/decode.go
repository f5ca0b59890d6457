package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxElements is the number of array elements and tags that a request may have. An
// element takes some 100 bytes once it is decoded, though a single byte may claim it.
const maxElements = 100_000

// Decode reads body, which must be of req's version, into req. Byte slices of req
// alias body; its strings are copies. It walks over the body first, so that it
// never allocates much more than the body is long. It fails with ErrMalformed and,
// above 100,000 array elements, with ErrTooLarge.
func Decode(req kmsg.Request, body []byte) error {
	if err := check(req, body, maxElements); err != nil {
		return err
	}
	if err := req.ReadFrom(body); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// Known reports whether Decode knows requests with that key.
func Known(key kmsg.Key) bool {
	_, ok := shapes[key]
	return ok
}
