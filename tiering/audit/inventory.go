package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/stores"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/collect"
	"github.com/forebaylog/forebay/tiering/wal"
)

// object is one object, listed or named.
type object struct {
	size   int64 // as it was listed, or found; -1: it is not there
	named  int64 // size by the slot or index that names it; 0: by chains, which say it in each item
	kind   kind
	broken bool   // it was found to be damaged
	links  []link // of the chains that name it
	runs   []span // of a WAL object, once it is read
}

// kind says what an object is there for.
type kind uint8

const (
	orphan kind = iota
	live
	spare
	walObject
	walIndex
	snapshot
	archive
	marks
	identity
	unknown
)

// link is an item of a chain, as the object that it names remembers it.
type link struct {
	partition int32 // number in auditor.partitions
	state     linkState
	base      id.Offset
	digest    uint64 // of the segment
}

// linkState says what an item is there for.
type linkState uint8

const (
	counts     linkState = iota
	superseded           // a spare item
	gone                 // of a topic that was deleted
)

// Names of objects that no other package tells.
const (
	identityName = stores.Identity
	probePrefix  = "probe/"
	packSuffix   = ".pack"
	indexSuffix  = ".index"
)

// list notes which objects there are, and what those are there for that no chain or stream names.
func (a *auditor) list(ctx context.Context) error {
	snapshots, err := metalog.ReadSnapshots(ctx, a.cfg.Control)
	if err != nil {
		if err := a.damaged(ctx, "metadata", err); err != nil {
			return err
		}
	}
	for info, err := range a.cfg.Objects.List(ctx, "", "") {
		if err != nil {
			return err
		}
		o := &object{size: info.Size, kind: kindByName(info.Key)}
		a.objects[info.Key] = o
		if o.kind != archive {
			continue
		}
		if err := metalog.CheckArchived(ctx, a.cfg.Objects, info); err != nil {
			if err := a.damagedArchive(info.Key, err); err != nil {
				return err
			}
		}
	}
	for _, name := range snapshots.Objects() {
		if o := a.object(name); o.size >= 0 {
			o.kind = snapshot
		}
	}
	return nil
}

// damagedArchive reports an object of the metadata's archive that cannot be understood. That the store fails is no
// finding, nor that the object has been collected since it was listed: nothing needs it.
func (a *auditor) damagedArchive(name string, err error) error {
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		delete(a.objects, name)
		return nil
	case !errors.Is(err, metalog.ErrCorrupt) && !errors.Is(err, metalog.ErrNewer):
		return err
	}
	a.objects[name].broken = true
	a.find(a.in(Finding{Severity: Damage, Check: "metadata archive", Object: name}, err))
	return nil
}

// kindByName says what an object is until something names it.
func kindByName(name string) kind {
	switch {
	case name == identityName, name == wal.ObjectPrefix+identityName:
		return identity
	case strings.HasPrefix(name, collect.ObjectPrefix):
		return marks
	case metalog.IsArchive(name):
		return archive
	case strings.HasPrefix(name, chain.ObjectPrefix) && strings.HasSuffix(name, packSuffix),
		strings.HasPrefix(name, wal.ObjectPrefix) && (strings.HasSuffix(name, packSuffix) || strings.HasSuffix(name, indexSuffix)),
		strings.HasPrefix(name, metalog.SnapshotPrefix), strings.HasPrefix(name, probePrefix):
		return orphan
	}
	return unknown
}

// object returns the object of that name, which is noted as missing if it was not listed. It
// is not for several goroutines at once.
func (a *auditor) object(name string) *object {
	o, ok := a.objects[name]
	if !ok {
		o = &object{size: -1}
		a.objects[name] = o
	}
	return o
}

// count adds an object to the count of what it is there for, and reports those that nothing names.
func (a *auditor) count(name string, o *object) {
	objects := &a.report.Objects
	if o.broken {
		objects.Damaged.add(o.size)
	}
	if o.size < 0 {
		objects.Missing.add(o.named)
		return
	}
	objects.Stored.add(o.size)
	f := Finding{Severity: Harmless, Check: "objects", Object: name}
	switch o.kind {
	case live:
		objects.Packs.add(o.size)
	case spare:
		objects.Spare.add(o.size)
	case walObject:
		objects.WAL.add(o.size)
	case walIndex:
		objects.Indexes.add(o.size)
	case snapshot:
		objects.Snapshots.add(o.size)
	case archive:
		objects.Archive.add(o.size)
	case marks:
		objects.Collector.add(o.size)
	case identity:
		objects.Identity.add(o.size)
	case unknown:
		objects.Unknown.add(o.size)
		f.What = fmt.Sprintf("%d bytes that are not Forebay's, as far as its name tells", o.size)
		a.find(f)
	case orphan:
		if a.blind { // what names it may be what cannot be read
			objects.Unknown.add(o.size)
			f.What = fmt.Sprintf("%d bytes that nothing names which can be read", o.size)
		} else {
			objects.Orphans.add(o.size)
			f.What = fmt.Sprintf("orphan of %d bytes: nothing names it, and it waits for the collector", o.size)
		}
		a.find(f)
	}
}
