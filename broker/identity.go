package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/stores"
	"github.com/forebaylog/forebay/tiering/wal"
)

// ErrForeign means that the parts that a broker was given belong to different clusters.
var ErrForeign = errors.New("belongs to another cluster")

// walIdentity holds the cluster's id in a WAL store of its own.
const (
	walIdentity = wal.ObjectPrefix + stores.Identity
	maxIdentity = 256
)

// checkIdentity makes sure that control table, offsets table and buckets are of one cluster; of a node alone, whose
// tables lie in one directory, that the object store is of it.
// The control table says which; the others are marked when they are first used.
func (b *Broker) checkIdentity(ctx context.Context) error {
	cluster := b.meta.Image().ClusterID()
	type part struct {
		what string
		read func(context.Context, string) (string, error)
	}
	parts := []part{{"the object store", b.bucketIdentity(stores.Identity)}}
	if b.cfg.Cluster != nil {
		parts = append(parts, part{"the offsets table", b.offsetsIdentity})
	}
	if b.cfg.Cluster != nil && b.cfg.Cluster.WAL != nil {
		parts = append(parts, part{"the WAL store", b.bucketIdentity(walIdentity)})
	}
	for _, part := range parts {
		found, err := part.read(ctx, cluster)
		if err != nil {
			return fmt.Errorf("find out which cluster %s belongs to: %w", part.what, err)
		}
		if found != cluster {
			return fmt.Errorf("%s %w: it is of cluster %s, the control table is of cluster %s; check --object-store, --wal-store and --metadata, or start with empty ones",
				part.what, ErrForeign, found, cluster)
		}
	}
	return nil
}

// bucketIdentity reads the object of that name, and makes it where there is none.
func (b *Broker) bucketIdentity(object string) func(context.Context, string) (string, error) {
	return func(ctx context.Context, cluster string) (string, error) {
		found := make([]byte, maxIdentity)
		n, err := b.cfg.Objects.ReadAt(ctx, object, found, 0)
		if errors.Is(err, objstore.ErrNotFound) {
			err = b.cfg.Objects.Put(ctx, object, bytes.NewReader([]byte(cluster)))
			if err == nil {
				return cluster, nil
			}
			if errors.Is(err, objstore.ErrExists) {
				n, err = b.cfg.Objects.ReadAt(ctx, object, found, 0)
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return string(found[:n]), err
	}
}

func (b *Broker) offsetsIdentity(ctx context.Context, cluster string) (string, error) {
	err := kv.Settle(ctx, b.cfg.Offsets, kv.Write{Key: stores.IdentityKey, Value: []byte(cluster)})[0].Err
	if err == nil || !errors.Is(err, kv.ErrConflict) {
		return cluster, err
	}
	item, err := b.cfg.Offsets.Get(ctx, stores.IdentityKey)
	return string(item.Value), err
}
