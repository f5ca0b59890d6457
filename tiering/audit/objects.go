package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/wal"
)

// readObjects reads every pack and every WAL object to its end, and compares each with what names it.
func (a *auditor) readObjects(ctx context.Context) error {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(a.objects)) {
		if o := a.objects[name]; isPack(name, o) {
			names = append(names, name)
			if !a.cfg.State.has(name, o.size) {
				a.progress.Total += max(o.size, 0)
			}
		}
	}
	err := a.parallel(ctx, len(names), func(ctx context.Context, i int) error {
		return a.readObject(ctx, names[i], a.objects[names[i]])
	})
	if err := errors.Join(err, a.cfg.State.flush()); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(a.objects)) {
		a.count(name, a.objects[name])
	}
	return nil
}

// isPack reports whether an object is, or should be, a pack.
func isPack(name string, o *object) bool {
	switch o.kind {
	case live, spare, walObject:
		return true
	case orphan:
		return strings.HasSuffix(name, packSuffix)
	}
	return false
}

// readObject reads one object and compares it with what names it.
func (a *auditor) readObject(ctx context.Context, name string, o *object) error {
	check := "pack"
	if strings.HasPrefix(name, wal.ObjectPrefix) {
		check = "wal object"
	}
	f := Finding{Severity: Damage, Check: check, Object: name}
	if o.kind == orphan || o.kind == spare && !a.matters(o) {
		f.Severity = Harmless
	}
	footer, err := a.wholePack(ctx, name, o)
	if err != nil {
		if !isDamage(err) {
			return err
		}
		o.broken = o.size >= 0
		a.noteRuns(o, footer)
		f = a.in(f, err)
		if len(o.links) > 0 && f.Topic == "" {
			f = a.at(f, a.partitions[o.links[0].partition], o.links[0].base)
		}
		a.find(f)
		return nil
	}
	if o.named > 0 && o.named != o.size {
		f.What = fmt.Sprintf("the object has %d bytes, its slot says %d", o.size, o.named)
		a.find(f)
	}
	a.noteRuns(o, footer)
	if err := a.compare(ctx, f, o, footer); err != nil {
		return err
	}
	a.share(o, footer)
	return nil
}

// noteRuns remembers which offsets are in a WAL object, as far as is known.
func (a *auditor) noteRuns(o *object, footer *pack.Footer) {
	if o.kind != walObject || footer == nil {
		return
	}
	for i := range footer.Runs {
		r := &footer.Runs[i]
		o.runs = append(o.runs, span{r.Partition, r.Base, r.Next})
	}
}

// errForeign: an object belongs to another cluster.
var errForeign = errors.New("object of another cluster")

// isDamage tells what is wrong with an object from a store that fails.
func isDamage(err error) bool {
	for _, kind := range []error{objstore.ErrNotFound, pack.ErrCorrupt, pack.ErrVersion, wal.ErrCorrupt, wal.ErrVersion, io.ErrUnexpectedEOF, errForeign} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// matters reports whether a spare object belongs to a topic that exists: somebody may be
// about to read it. Nobody reads what a deleted topic has left.
func (a *auditor) matters(o *object) bool {
	return slices.ContainsFunc(o.links, func(l link) bool { return l.state != gone })
}

// wholePack reads an object to its end, unless an earlier run has, and returns its footer, if
// that can be read also when the rest is damaged.
func (a *auditor) wholePack(ctx context.Context, name string, o *object) (*pack.Footer, error) {
	if o.size < 0 { // it may have been stored since they were listed
		info, err := a.cfg.Objects.Stat(ctx, name)
		if err != nil {
			return nil, err
		}
		o.size = info.Size
	}
	r := &counter{a: a, name: name}
	if !a.cfg.State.has(name, o.size) {
		err := pack.Verify(ctx, r, o.size)
		a.read(o.size - r.pos)
		if err != nil {
			footer, _ := pack.ReadFooter(ctx, r, o.size) // what is wrong is told already
			return footer, err
		}
	}
	r.pos = -1
	footer, err := pack.ReadFooter(ctx, r, o.size)
	if err == nil && footer.Cluster != a.report.Cluster && a.report.Cluster != "" {
		err = fmt.Errorf("%w: it is of %s, the metadata of %s", errForeign, footer.Cluster, a.report.Cluster)
	}
	if err != nil {
		return nil, err
	}
	return footer, a.cfg.State.note(name, o.size)
}

// compare compares the chains' items with the runs that they name.
func (a *auditor) compare(ctx context.Context, f Finding, o *object, footer *pack.Footer) error {
	for _, l := range o.links {
		p := a.partitions[l.partition]
		run, ok := footer.Run(p)
		if ok && a.digest(chain.SegmentOf(run, f.Object, o.size)) == l.digest {
			continue
		}
		f := a.at(f, p, l.base)
		f.What = "the object has no run of the partition"
		if l.state == gone {
			f.Severity = Harmless
		}
		if ok {
			f.What = a.differs(ctx, l, chain.SegmentOf(run, f.Object, o.size)).Error()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.find(f)
	}
	return nil
}

// share divides a pack that counts among the topics that have live bytes in it.
func (a *auditor) share(o *object, footer *pack.Footer) {
	if o.kind != live {
		return
	}
	type place struct {
		p    id.Partition
		base id.Offset
	}
	alive := make(map[place]bool, len(o.links))
	for _, l := range o.links {
		if l.state == counts {
			alive[place{a.partitions[l.partition], l.base}] = true
		}
	}
	byTopic, total := map[id.Topic]int64{}, int64(0)
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range footer.Runs {
		r := &footer.Runs[i]
		if alive[place{r.Partition, r.Base}] {
			byTopic[r.Partition.Topic] += r.Length
			total += r.Length
		} else {
			a.topic(r.Partition.Topic).DeadBytes += r.Length
		}
	}
	left, leftLive := o.size, total
	topics := slices.SortedFunc(maps.Keys(byTopic), func(t, u id.Topic) int { return bytes.Compare(t[:], u[:]) })
	for _, t := range topics { // in order, for the same rounding each time
		c, bytes := a.topic(t), byTopic[t]
		part := int64(float64(left) * (float64(bytes) / float64(leftLive)))
		if bytes == leftLive {
			part = left
		}
		left, leftLive = left-part, leftLive-bytes
		c.LiveBytes += bytes
		c.ShareBytes += part
		c.Objects++
	}
}

// counter is an object as a pack.RangeReader, of which progress is told: of each byte once.
type counter struct {
	a    *auditor
	name string
	pos  int64 // up to here; -1: no more is told
}

// ReadAt implements pack.RangeReader.
func (c *counter) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	n, err := c.a.cfg.Objects.ReadAt(ctx, c.name, p, off)
	if off == c.pos {
		c.pos += int64(n)
		c.a.read(int64(n))
	}
	return n, err
}
