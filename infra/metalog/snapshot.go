package metalog

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
)

// snapshots keeps Images as objects. The item under pointerKey names the one that
// counts, and the one before for readers who are just at it. Commit point of a
// snapshot: the conditional write of that item. A crash before leaves an object that nobody
// names, which the next snapshot removes; a crash after leaves slots and objects that are
// not needed any more, which the next snapshot removes too.
type snapshots struct {
	store   kv.Store
	objects objstore.Store
	most    int16 // the highest level that is supported
}

// objectPrefix is followed by the version in 20 digits, "-" and a random part.
const objectPrefix = "metalog/"

var pointerKey = kv.Key{Part: "metalog", Sort: "snapshot"}

const pointerVersion = 1

// pointer is the value of the item, as JSON.
type pointer struct {
	Format   int         `json:"v"`
	Current  snapshotRef `json:"current"`
	Previous snapshotRef `json:"previous"`
	Level    int16       `json:"level,omitempty"` // of Current, so that nobody tries to read it who cannot; 0: not told
	Since    string      `json:"since,omitempty"` // as FeatureFinalized has it
}

type snapshotRef struct {
	Version uint64 `json:"version"` // of the Image; 0: none
	Object  string `json:"object"`
}

// find reads the pointer, which is zero and of version "" before the first snapshot.
func (s *snapshots) find(ctx context.Context) (pointer, kv.Version, error) {
	item, err := s.store.Get(ctx, pointerKey)
	if errors.Is(err, kv.ErrNotFound) {
		return pointer{}, "", nil
	}
	if err != nil {
		return pointer{}, "", fmt.Errorf("find metadata snapshot: %w", err)
	}
	p, err := decodePointer(item.Value)
	return p, item.Version, err
}

func decodePointer(b []byte) (pointer, error) {
	var p pointer
	err := json.Unmarshal(b, &p)
	switch {
	case err != nil:
		return pointer{}, fmt.Errorf("find metadata snapshot: %w: %w", ErrCorrupt, err)
	case p.Format > pointerVersion:
		return pointer{}, fmt.Errorf("find metadata snapshot: %w: version %d of the pointer", ErrNewer, p.Format)
	case p.Format != pointerVersion || p.Current.Version == 0 || p.Current.Object == "":
		return pointer{}, fmt.Errorf("find metadata snapshot: %w: pointer %s", ErrCorrupt, b)
	}
	return p, nil
}

// load returns the newest snapshot, nil if there is none.
func (s *snapshots) load(ctx context.Context) (*Image, error) {
	var tried string
	for {
		p, _, err := s.find(ctx)
		if err != nil || p.Current.Version == 0 {
			return nil, err
		}
		if err := supported(p.Level, p.Since, s.most); err != nil {
			return nil, fmt.Errorf("read metadata snapshot %s: %w", p.Current.Object, err)
		}
		m, err := s.read(ctx, p.Current)
		if err == nil {
			return m, nil
		}
		if !errors.Is(err, objstore.ErrNotFound) || tried == p.Current.Object {
			return nil, err
		}
		tried = p.Current.Object // replaced twice since the pointer was read: look again
	}
}

func (s *snapshots) read(ctx context.Context, ref snapshotRef) (*Image, error) {
	info, err := s.objects.Stat(ctx, ref.Object)
	if err != nil {
		return nil, fmt.Errorf("read metadata snapshot: %w", err)
	}
	b := make([]byte, info.Size)
	if _, err := s.objects.ReadAt(ctx, ref.Object, b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read metadata snapshot: %w", err)
	}
	m, err := decodeImage(b)
	if err != nil {
		return nil, fmt.Errorf("read metadata snapshot %s: %w", ref.Object, err)
	}
	if m.version != ref.Version {
		return nil, fmt.Errorf("read metadata snapshot %s: %w: version %d, want %d", ref.Object, ErrCorrupt, m.version, ref.Version)
	}
	if err := supported(m.Level(), since(m.Level()), s.most); err != nil {
		return nil, fmt.Errorf("read metadata snapshot %s: %w", ref.Object, err)
	}
	return m, nil
}

// save makes m the newest snapshot unless there is one as new; it returns the
// pointer as it is then.
func (s *snapshots) save(ctx context.Context, m *Image) (pointer, error) {
	p, version, err := s.find(ctx)
	if err != nil || p.Current.Version >= m.version {
		return p, err
	}
	b, err := encodeImage(m)
	if err != nil {
		return p, err
	}
	object := fmt.Sprintf("%s%020d-%s", objectPrefix, m.version, rand.Text())
	if err := s.objects.Put(ctx, object, bytes.NewReader(b)); err != nil {
		return p, fmt.Errorf("store metadata snapshot: %w", err)
	}
	for {
		next := pointer{
			Format: pointerVersion, Current: snapshotRef{m.version, object}, Previous: p.Current,
			Level: m.Level(), Since: since(m.Level()),
		}
		value, err := json.Marshal(next)
		if err != nil {
			return p, fmt.Errorf("encode snapshot pointer: %w", err)
		}
		err = kv.Settle(ctx, s.store, kv.Write{Key: pointerKey, Value: value, If: version})[0].Err
		if !errors.Is(err, kv.ErrConflict) {
			return next, err
		}
		if p, version, err = s.find(ctx); err != nil || p.Current.Version >= m.version {
			return p, err // another's is as new: ours is swept
		}
	}
}

// sweep removes the objects that p has made superfluous: no pointer will ever name
// one that is no newer than the current snapshot.
func (s *snapshots) sweep(ctx context.Context, p pointer) error {
	for info, err := range s.objects.List(ctx, objectPrefix, "") {
		if err != nil {
			return fmt.Errorf("sweep metadata snapshots: %w", err)
		}
		if strings.HasPrefix(info.Key, ArchivePrefix) {
			break // the names of snapshots are digits, and come before
		}
		if !(Snapshots{p}).Superfluous(info.Key) {
			continue
		}
		if err := s.objects.Delete(ctx, info.Key); err != nil {
			return fmt.Errorf("sweep metadata snapshots: %w", err)
		}
	}
	return nil
}

func objectVersion(key string) (uint64, bool) {
	digits, _, ok := strings.Cut(strings.TrimPrefix(key, objectPrefix), "-")
	version, err := strconv.ParseUint(digits, 10, 64)
	return version, ok && err == nil && len(digits) == 20
}
