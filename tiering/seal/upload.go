package seal

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/pack"
)

// errNoRuns is returned for a plan none of whose partitions can be read.
var errNoRuns = errors.New("no run to upload")

// upload streams the plan into one object and returns what is in it. It adds to skip
// the partitions that could not be read to the end; what precedes the place is in.
func (s *Sealer) upload(
	ctx context.Context, src source, pl *plan, name string, skip map[id.Partition]error,
) (*pack.Footer, int64, error) {
	pr, pw := io.Pipe()
	stored := make(chan error, 1)
	go func() {
		err := s.cfg.Objects.Put(ctx, name, pr)
		pr.CloseWithError(errors.Join(errUpload, err)) // nobody reads on
		stored <- err
	}()
	w := packer{s: s, src: src, skip: skip, pack: pack.NewWriter(pw, pack.Header{
		Cluster: s.cfg.Cluster, Session: s.cfg.Session, Node: s.cfg.Node, Created: s.cfg.Now(),
	})}
	footer, err := w.write(ctx, pl)
	pw.CloseWithError(err) // nil ends the object
	switch putErr := <-stored; {
	case err != nil && !errors.Is(err, errUpload):
		return nil, 0, err // the store stopped because of it
	case putErr != nil:
		return nil, 0, fmt.Errorf("store pack %s: %w", name, putErr)
	case err != nil:
		return nil, 0, err
	}
	return footer, w.pack.Size(), nil
}

// errUpload marks what a writer gets when the object store has given up.
var errUpload = errors.New("upload ended")
