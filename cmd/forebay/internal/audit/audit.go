// Package audit proves from a data directory alone that every byte in it that
// matters is what was written, and that no offset of any partition is missing.
//
// It reads, and changes nothing. What it finds is either damage, or harmless: bytes
// that nothing depends on, which the broker makes anew or removes. All calls to
// report come from the goroutine that called Run.
//
// What covers which bytes:
//
//	FOREBAY           compared as a whole
//	control.db,       every page by its place in the tree and its form, every item by its
//	offsets.db        CRC32C; then decoded. What is left is in no item: free pages, padding
//	hot/*.hot         every byte, frame by frame; the space behind the last frame must be zeros
//	index/            the whole directory by a seal over its bytes; then entry by entry against the hot segments
//	objects/packs/    every byte of each pack that a chain names; others are orphans
//	objects/metalog/  the snapshot that counts, by its CRC32C
package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
)

// Severity says whether something depends on what was found.
type Severity string

// The severities.
const (
	Damage   Severity = "damage"
	Harmless Severity = "harmless"
)

// Finding is one thing that is not as it was written, and where it is as far as is known.
type Finding struct {
	Severity  Severity `json:"severity"`
	Check     string   `json:"check"` // what was being checked, such as "hot segment"
	File      string   `json:"file"`  // below the data directory
	Position  *int64   `json:"position,omitempty"`
	Length    int64    `json:"length,omitempty"` // bytes in question, if known
	Topic     string   `json:"topic,omitempty"`  // its name, or else its id
	Partition *int32   `json:"partition,omitempty"`
	Offset    *int64   `json:"offset,omitempty"`
	What      string   `json:"what"`
}

// Place is the file with the position, and the partition with the offset.
func (f Finding) Place() string {
	s := f.File
	if f.Position != nil {
		s += fmt.Sprintf(":%d", *f.Position)
	}
	if f.Topic != "" && f.Partition != nil {
		s += fmt.Sprintf(" %s-%d", f.Topic, *f.Partition)
	}
	if f.Offset != nil {
		s += fmt.Sprintf(" offset %d", *f.Offset)
	}
	return s
}

// Dir is a data directory whose broker is stopped.
type Dir struct {
	Path    string // of the directory, in FS
	FS      vfs.FS
	Marker  error            // what is wrong with the marker
	Tables  map[string]Table // by file
	Control string           // the file among Tables with metadata and chains
	Offsets string           // the file among Tables with the offsets of groups
	Objects objstore.Store
	Hot     string   // name of the folder of the hot segments
	Index   string   // name of the folder of the index
	Folder  string   // name of the folder of the objects
	Known   []string // names of further files that belong here
}

// Table is an opened table, or why it could not be opened.
type Table struct {
	Store kv.Store
	Err   error
}

// Summary is what was looked at and how it is.
type Summary struct {
	Cluster    string `json:"cluster"`
	Topics     int    `json:"topics"`
	Partitions int    `json:"partitions"`
	Slots      int    `json:"metadata_slots"`
	Segments   int    `json:"hot_segments"`
	Batches    int64  `json:"hot_batches"`
	HotBytes   int64  `json:"hot_bytes"`
	Indexed    int64  `json:"indexed_batches"`
	Links      int    `json:"sealed_segments"`
	Packs      int    `json:"packs"`
	Sealed     int64  `json:"sealed_records"`
	PackBytes  int64  `json:"sealed_bytes"`
	Groups     int    `json:"groups"`
	Damage     int    `json:"damage"`
	Harmless   int    `json:"harmless"`
}

// auditor is one run.
type auditor struct {
	dir    Dir
	report func(Finding)
	stage  func(string)
	sum    Summary
	image  *metalog.Image // nil if it could not be read
	hot    hotLog
	ends   map[id.Partition]id.Offset // of the chains that could be read
	reach  map[id.Partition]id.Offset // where what is sealed or hot ends
	broken map[id.Partition]bool      // whose chain could not
}

// Run checks everything and calls report for each finding and stage before each
// part of the work. The error is of reading, not of what was found.
func Run(ctx context.Context, dir Dir, report func(Finding), stage func(string)) (Summary, error) {
	a := &auditor{dir: dir, report: report, stage: stage, ends: map[id.Partition]id.Offset{}, reach: map[id.Partition]id.Offset{}, broken: map[id.Partition]bool{}}
	if dir.Marker != nil {
		a.find(Finding{Severity: Damage, Check: "marker", File: "FOREBAY", What: dir.Marker.Error()})
	}
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"tables", a.tables},
		{"metadata log", a.metadata},
		{"hot segments", a.hotSegments},
		{"chains and packs", a.chains},
		{"continuity", a.continuity},
		{"index", a.index},
		{"group offsets", a.offsets},
		{"other files", a.others},
	}
	for _, s := range steps {
		stage(s.name)
		if err := s.run(ctx); err != nil {
			return a.sum, fmt.Errorf("verify %s: %w", s.name, err)
		}
		if err := ctx.Err(); err != nil {
			return a.sum, err
		}
	}
	return a.sum, nil
}

func (a *auditor) find(f Finding) {
	if f.Severity == Damage {
		a.sum.Damage++
	} else {
		a.sum.Harmless++
	}
	a.report(f)
}

// at names a partition and an offset in a finding.
func (a *auditor) at(f Finding, p id.Partition, o id.Offset) Finding {
	f.Topic = a.topic(p.Topic)
	offset := int64(o)
	f.Partition, f.Offset = &p.Index, &offset
	return f
}

func (a *auditor) topic(t id.Topic) string {
	if a.image != nil {
		if topic, ok := a.image.TopicByID(t); ok {
			return topic.Name
		}
	}
	return t.String()
}

// tables checks the files of the tables.
func (a *auditor) tables(ctx context.Context) error {
	for _, file := range []string{a.dir.Control, a.dir.Offsets} {
		t := a.dir.Tables[file]
		err := t.Err
		if v, ok := t.Store.(interface{ Verify(context.Context) error }); ok && err == nil {
			err = v.Verify(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			a.find(Finding{Severity: Damage, Check: "table", File: file, What: err.Error()})
			continue
		}
		if err := a.pages(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// metadata reads every slot of the metadata log and the snapshot below it.
func (a *auditor) metadata(ctx context.Context) error {
	store := a.dir.Tables[a.dir.Control].Store
	if store == nil {
		return nil // reported
	}
	slots, err := metalog.Slots(ctx, store, 0, 0)
	a.sum.Slots = len(slots)
	if err == nil {
		a.image, err = metalog.Load(ctx, store, a.dir.Objects)
	}
	if err != nil {
		a.image = nil
		return a.damagedIn(ctx, "metadata", a.dir.Control, err)
	}
	a.sum.Cluster, a.sum.Topics = a.image.ClusterID(), len(a.image.Topics())
	for _, t := range a.image.Topics() {
		a.sum.Partitions += len(t.Partitions)
	}
	if a.sum.Cluster == "" {
		a.find(Finding{Severity: Damage, Check: "metadata", File: a.dir.Control, What: "the metadata log is empty"})
		a.image = nil
		return nil
	}
	return a.identity(ctx)
}

// identityObject says of which cluster the object store is. A directory that no broker of a newer release has opened has none.
const identityObject = "cluster-id"

// identity looks whether the object store is that of the metadata.
func (a *auditor) identity(ctx context.Context) error {
	found := make([]byte, 256)
	n, err := a.dir.Objects.ReadAt(ctx, identityObject, found, 0)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return nil
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("find out which cluster the object store belongs to: %w", err)
	}
	if of := string(found[:n]); of != a.sum.Cluster {
		what := fmt.Sprintf("it says cluster %q, the metadata is of %q", of, a.sum.Cluster)
		a.find(Finding{Severity: Damage, Check: "metadata", File: a.objectFile(identityObject), What: what})
	}
	return nil
}

// damagedIn reports what was read of a table and could not be understood. An end
// of ctx is no finding.
func (a *auditor) damagedIn(ctx context.Context, check, file string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.find(Finding{Severity: Damage, Check: check, File: file, What: err.Error()})
	return nil
}

// others names files that are not Forebay's.
func (a *auditor) others(context.Context) error {
	known := map[string]bool{"FOREBAY": true, a.dir.Hot: true, a.dir.Index: true, a.dir.Folder: true}
	for file := range a.dir.Tables {
		known[file] = true
	}
	for _, name := range a.dir.Known {
		known[name] = true
	}
	entries, err := a.dir.FS.ReadDir(a.dir.Path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !known[e.Name()] {
			a.find(Finding{Severity: Harmless, Check: "other files", File: e.Name(), What: "it is not Forebay's"})
		}
	}
	return nil
}

// below is the name of a file in a folder of the directory, as findings have it.
func below(folder, name string) string { return path.Join(folder, name) }

// objectFile is the file of an object, as package objstore names those whose keys
// need no escapes; all of Forebay's are such.
func (a *auditor) objectFile(key string) string {
	dir, name := path.Split(key)
	return below(a.dir.Folder, strings.ReplaceAll(dir, "/", ".d/")+name)
}

// errorsAs is errors.As for an error that is looked for by its type alone.
func errorsAs[T error](err error) (T, bool) {
	var target T
	ok := errors.As(err, &target)
	return target, ok
}
