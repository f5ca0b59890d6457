package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/infra/slotlog"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/wal"
)

func newInspectStream() *cobra.Command {
	var out output
	var from source
	var all, runs bool
	cmd := &cobra.Command{
		Use:   "stream [SESSION]",
		Short: "Show the slots of the WAL stream of a session, or of all",
		Long: `Show the slots of the WAL stream of a session that are not released, and the objects that
each of them commits. With --runs the objects' footers are read, and said which offsets of
which partitions are in them. 'forebay inspect sessions' lists the sessions.`,
		Example: `  forebay inspect stream --all --metadata dynamodb://my-log?region=eu-central-1 --object-store s3://my-log/prod?region=eu-central-1
  forebay inspect stream AbCdEfGhIjKlMnOpQrStUv --runs -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return usageErrorf("name a session or give --all")
			}
			return from.with(cmd, func(ctx context.Context, d *dataDir) error {
				i := streamInspector{cmd: cmd, d: d, runs: runs}
				return i.run(ctx, out, args)
			})
		},
	}
	from.register(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "the streams of all sessions")
	cmd.Flags().BoolVar(&runs, "runs", false, "also show what is in the objects")
	out.register(cmd.Flags())
	return cmd
}

// shownStream is a stream in the output of inspect stream.
type shownStream struct {
	Session string            `json:"session"`
	Node    *int32            `json:"node"`  // nil: the metadata does not know the session
	First   uint64            `json:"first"` // slots below are released
	Fenced  bool              `json:"fenced"`
	Slots   []shownStreamSlot `json:"slots"`
}

type shownStreamSlot struct {
	Slot     uint64         `json:"slot"`
	Objects  []shownObject  `json:"objects,omitempty"`
	Index    *wal.ObjectRef `json:"index,omitempty"`
	FencedBy *int32         `json:"fenced_by,omitempty"`
}

type shownObject struct {
	wal.ObjectRef
	Runs []shownRun `json:"runs,omitempty"`
}

// streamInspector shows streams and collects what is wrong with them.
type streamInspector struct {
	cmd    *cobra.Command
	d      *dataDir
	runs   bool
	image  *metalog.Image
	names  topicNames
	tables []*table
	errs   []error
}

func (i *streamInspector) run(ctx context.Context, out output, args []string) (err error) {
	if i.image, err = metalog.Load(ctx, i.d.control, i.d.objects); err != nil {
		return metalogError(err)
	}
	i.names = namesOf(i.image)
	sessions, err := i.sessions(ctx, args)
	if err != nil {
		return err
	}
	streams := []shownStream{}
	for _, s := range sessions {
		stream, err := i.stream(ctx, s)
		if err != nil {
			i.errs = append(i.errs, fmt.Errorf("stream of session %s: %w", s, err))
		}
		if len(args) == 1 && err == nil && len(stream.Slots) == 0 && stream.Node == nil {
			return fmt.Errorf("there is no stream of session %q", s)
		}
		streams = append(streams, stream)
	}
	return errors.Join(append(i.errs, out.print(i.cmd, streams, i.tables...))...)
}

// sessions lists the session that is asked for, or all that the metadata or the table knows.
func (i *streamInspector) sessions(ctx context.Context, args []string) ([]id.Session, error) {
	if len(args) == 1 {
		return []id.Session{id.Session(args[0])}, nil
	}
	var all []id.Session
	for _, s := range i.image.Streams() {
		all = append(all, s.Session)
	}
	seen, err := session.List(ctx, i.d.control)
	if err != nil {
		return nil, sessionError(err)
	}
	for _, s := range seen {
		if _, known := i.image.Stream(s.Session); !known {
			all = append(all, s.Session)
		}
	}
	return all, nil
}

// stream reads one stream. What can be read of one that is damaged is returned with the error.
func (i *streamInspector) stream(ctx context.Context, s id.Session) (shownStream, error) {
	shown := shownStream{Session: s.String(), Slots: []shownStreamSlot{}}
	title := "Session " + shown.Session
	if known, ok := i.image.Stream(s); ok {
		node := int32(known.Node)
		shown.Node = &node
		title += fmt.Sprintf(" of node %d", node)
	}
	slots := wal.Slots(i.d.control, s)
	first, raw, err := readSlots(ctx, slots)
	if err != nil {
		return shown, tableError(err)
	}
	shown.First = first
	t := newTable("SLOT", "WHAT", "NAME", "SIZE")
	t.title = fmt.Sprintf("%s, slots from %d on", title, first)
	i.tables = append(i.tables, t)
	var errs []error
	for _, r := range raw {
		slot, err := wal.DecodeSlot(r.Payload)
		if err != nil {
			errs = append(errs, damaged(fmt.Errorf("slot %d: %w", r.Seq, err)))
			t.add(r.Seq, "DAMAGED", "-", "-")
			continue
		}
		view := shownStreamSlot{Slot: r.Seq, Index: slot.Index}
		if slot.Fence != nil {
			by := int32(slot.Fence.By)
			view.FencedBy, shown.Fenced = &by, true
			t.add(r.Seq, fmt.Sprintf("fenced by node %d", by), "-", "-")
		}
		for _, ref := range slot.Objects {
			t.add(r.Seq, "object", ref.Name, ref.Size)
			object := shownObject{ObjectRef: ref}
			if i.runs {
				if object.Runs, err = i.runsOf(ctx, ref); err != nil {
					errs = append(errs, fmt.Errorf("slot %d: object %s: %w", r.Seq, ref.Name, err))
				}
			}
			view.Objects = append(view.Objects, object)
		}
		if slot.Index != nil {
			t.add(r.Seq, "index", slot.Index.Name, slot.Index.Size)
		}
		shown.Slots = append(shown.Slots, view)
	}
	return shown, errors.Join(errs...)
}

// readAttempts is how often slots are read that are released meanwhile.
const readAttempts = 5

// readSlots reads what is not released of a stream.
func readSlots(ctx context.Context, slots *slotlog.Log) (first uint64, raw []slotlog.Slot, err error) {
	for range readAttempts {
		if first, err = slots.First(ctx); err != nil {
			return 0, nil, err
		}
		first = max(first, 1)
		if raw, err = slots.Read(ctx, first, 0); !errors.Is(err, slotlog.ErrTruncated) {
			break
		}
	}
	return first, raw, err
}

// runsOf reads the footer of an object and lists its runs.
func (i *streamInspector) runsOf(ctx context.Context, ref wal.ObjectRef) ([]shownRun, error) {
	footer, err := pack.ReadFooter(ctx, objstore.Object{Store: i.d.objects, Key: ref.Name}, ref.Size)
	if errors.Is(err, pack.ErrCorrupt) || errors.Is(err, objstore.ErrNotFound) {
		return nil, damaged(err)
	}
	if err != nil {
		return nil, err
	}
	t := newRunTable("Runs of " + ref.Name)
	i.tables = append(i.tables, t)
	var shown []shownRun
	for n := range footer.Runs {
		r := &footer.Runs[n]
		shown = append(shown, showRun(r, i.names))
		addRun(t, i.names, r)
	}
	return shown, nil
}

// tableError tells damage of the table from a failure to read it.
func tableError(err error) error {
	if errors.Is(err, kv.ErrCorrupt) {
		return damaged(err)
	}
	return err
}
