package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/audit"
)

// clusterFlags are those of verify that go with the stores of a cluster.
type clusterFlags struct {
	running bool
	state   string
	price   float64
	workers int
}

// clusterOnly are their names.
var clusterOnly = []string{"running", "state", "price-per-gib", "workers"}

func (f *clusterFlags) register(flags *pflag.FlagSet) {
	flags.BoolVar(&f.running, "running", false, "look although brokers run: what they write meanwhile may be reported, wrongly")
	flags.StringVar(&f.state, "state", "", "file that notes which objects were read, so that an interrupted run goes on from there")
	flags.Float64Var(&f.price, "price-per-gib", 0.023, "price of a GiB that is stored for a month, as of S3 Standard in us-east-1")
	flags.IntVar(&f.workers, "workers", 8, "objects that are read at once")
}

// check refuses flags that do not go together.
func (f *clusterFlags) check(cmd *cobra.Command, stores storeFlags) error {
	if stores == (storeFlags{}) {
		for _, name := range clusterOnly {
			if cmd.Flags().Changed(name) {
				return usageErrorf("--%s goes with --object-store and --metadata", name)
			}
		}
		return nil
	}
	switch {
	case cmd.Flags().Changed("dir"):
		return usageErrorf("--dir is for the data directory of a node alone; of a cluster give --object-store and --metadata only")
	case f.price <= 0:
		return usageErrorf("--price-per-gib must be above 0")
	case f.workers < 1 || f.workers > 256:
		return usageErrorf("--workers must be from 1 to 256")
	}
	return nil
}

// verifiedCluster is the document of verify for a cluster; docs/verify.md describes it.
type verifiedCluster struct {
	ObjectStore string `json:"object_store"`
	Metadata    string `json:"metadata"`
	*audit.Report
}

func runVerifyCluster(cmd *cobra.Command, out output, from storeFlags, f clusterFlags) (err error) {
	ctx := cmd.Context()
	d, err := from.openReadOnly(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if d.offsets == nil {
		return damaged(fmt.Errorf("the table of the offsets in %s cannot be opened", from.metadata))
	}
	cfg := audit.Config{Control: d.control, Offsets: d.offsets, Objects: d.objects, Workers: f.workers, PricePerGiB: f.price}
	if f.state != "" {
		if cfg.State, err = audit.OpenState(f.state); err != nil {
			return stateError(err)
		}
		defer func() { err = errors.Join(err, cfg.State.Close()) }()
	}
	seen, err := session.List(ctx, d.control)
	if err != nil {
		return sessionError(err)
	}
	if !f.running {
		if err := refuseAlive(ctx, d, session.DefaultTTL); err != nil {
			return err
		}
	}
	bar := newVerifyProgress(cmd)
	cfg.Progress = bar.show
	report, err := audit.Run(ctx, cfg)
	bar.line.done()
	if err != nil {
		return stateError(err)
	}
	if alive, err := audit.Renewed(ctx, d.control, seen); err != nil {
		return sessionError(err)
	} else if len(alive) > 0 && !f.running {
		return fmt.Errorf("%s has started meanwhile; stop it and verify again", describeAlive(alive))
	}
	doc := verifiedCluster{from.objectStore, from.metadata, report}
	if err := out.print(cmd, doc, doc.tables()...); err != nil || doc.Damage == 0 {
		return err
	}
	return damaged(fmt.Errorf("the log in %s is damaged in %d places", from.objectStore, doc.Damage))
}

// refuseAlive watches the sessions for a time and fails if a broker renews its own.
func refuseAlive(ctx context.Context, d *dataDir, watch time.Duration) error {
	alive, err := audit.Alive(ctx, d.control, watch)
	if err != nil {
		return sessionError(err)
	}
	if len(alive) == 0 {
		return nil
	}
	return fmt.Errorf("%s is alive: its session was renewed just now. Stop all brokers, or give --running to look all the same", describeAlive(alive))
}

func describeAlive(alive []session.Seen) string {
	var nodes []string
	for _, s := range alive {
		nodes = append(nodes, fmt.Sprint(s.Node))
	}
	if len(nodes) == 1 {
		return "broker " + nodes[0]
	}
	return fmt.Sprintf("one of the brokers %s", strings.Join(nodes, ", "))
}

// stateError gives errors about a file of notes their exit code.
func stateError(err error) error {
	if errors.Is(err, audit.ErrState) {
		return &exitError{exitUsage, err}
	}
	return err
}

// tables are what was looked at, what it costs and, if there is any, what was found.
func (v verifiedCluster) tables() []*table {
	looked := newTable()
	looked.title = fmt.Sprintf("%s: %d damaged, %d harmless findings", v.ObjectStore, v.Damage, v.Harmless)
	if v.Damage+v.Harmless == 0 {
		looked.title = v.ObjectStore + " is whole"
	}
	looked.add("cluster", v.Cluster)
	looked.add("metadata", fmt.Sprintf("%d topics with %d partitions, in %d slots", v.Topics, v.Partitions, v.Slots))
	looked.add("sealed", fmt.Sprintf("%d segments with %d records, %d of them empty; %d more are spare, %d of deleted topics",
		v.Segments, v.Records, v.EmptySegments, v.SpareSegments, v.GoneSegments))
	looked.add("streams", fmt.Sprintf("%d with %d slots, and %d offsets that are not sealed", v.Streams, v.StreamSlots, v.Unsealed))
	looked.add("offsets", fmt.Sprintf("%d of %d groups, %d pending; %d transactional ids", v.GroupOffsets, v.Groups, v.Pending, v.Transactional))
	tables := []*table{looked, v.objectTable(), v.costTable()}
	if len(v.Findings) == 0 {
		return tables
	}
	found := newTable("SEVERITY", "CHECK", "PLACE", "WHAT")
	for _, f := range v.Findings {
		found.add(string(f.Severity), f.Check, f.Place(), f.What)
	}
	if v.LeftOut > 0 {
		found.add(string(audit.Harmless), "-", "-", fmt.Sprintf("and %d more", v.LeftOut))
	}
	return append(tables, found)
}

func (v verifiedCluster) objectTable() *table {
	t := newTable("OBJECTS", "COUNT", "SIZE")
	o := v.Objects
	for _, row := range []struct {
		name  string
		count audit.Count
	}{
		{"packs", o.Packs},
		{"spare packs", o.Spare},
		{"WAL objects", o.WAL},
		{"WAL indexes", o.Indexes},
		{"snapshots", o.Snapshots},
		{"archive", o.Archive},
		{"collector's marks", o.Collector},
		{"identity", o.Identity},
		{"orphans", o.Orphans},
		{"unknown", o.Unknown},
		{"all", o.Stored},
		{"damaged", o.Damaged},
		{"missing", o.Missing},
	} {
		if row.count.Objects > 0 || row.name == "all" {
			t.add(row.name, row.count.Objects, humanize.IBytes(uint64(row.count.Bytes)))
		}
	}
	return t
}

func (v verifiedCluster) costTable() *table {
	t := newTable("TOPIC", "PARTITIONS", "SEGMENTS", "RECORDS", "LIVE", "OBJECTS", "SHARE", "A MONTH")
	month := func(dollars float64) string { return fmt.Sprintf("%.4f", dollars) }
	size := func(n int64) string { return humanize.IBytes(uint64(n)) }
	c := v.Cost
	for _, r := range c.Topics {
		t.add(r.Topic, r.Partitions, r.Segments, r.Records, size(r.LiveBytes), r.Objects, size(r.ShareBytes), month(r.Month))
	}
	t.add("for the collector", "-", "-", "-", "-", "-", size(c.WaitingBytes), month(c.WaitingMonth))
	t.add("all", "-", "-", "-", "-", "-", size(v.Objects.Stored.Bytes), month(c.Month))
	t.title = fmt.Sprintf("At %g for a GiB and month; %s of the packs that are live are dead", c.PricePerGiB, size(c.DeadBytes))
	return t
}

// verifyProgress tells how far a verification is: a bar on a terminal, else a line now and then.
type verifyProgress struct {
	line    *progress
	w       io.Writer // nil if line draws
	started time.Time // of the reading
	said    time.Time
}

// sayEvery is how often a line is said where no terminal is.
const sayEvery = 5 * time.Second

func newVerifyProgress(cmd *cobra.Command) *verifyProgress {
	p := &verifyProgress{line: newProgress(cmd), said: time.Now()}
	if p.line.w == nil {
		p.w = cmd.ErrOrStderr()
	}
	return p
}

// show is audit.Config.Progress.
func (p *verifyProgress) show(now audit.Progress) {
	if now.Done > 0 && p.started.IsZero() {
		p.started = time.Now()
	}
	if p.w == nil {
		if time.Since(p.line.last) >= progressEvery {
			p.line.show("%s", p.text(now, true))
		}
		return
	}
	if time.Since(p.said) >= sayEvery {
		p.said = time.Now()
		fmt.Fprintln(p.w, p.text(now, false))
	}
}

// barWidth is the width of a full bar, in characters.
const barWidth = 30

func (p *verifyProgress) text(now audit.Progress, bar bool) string {
	s := "verifying " + now.Stage
	if now.Total == 0 || now.Done == 0 || now.Stage != "objects" {
		return s
	}
	part := float64(now.Done) / float64(now.Total)
	if bar {
		full := min(int(part*barWidth), barWidth)
		s += " [" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "]"
	}
	took := time.Since(p.started)
	s += fmt.Sprintf(" %.0f%%, %s of %s", 100*part, humanize.IBytes(uint64(now.Done)), humanize.IBytes(uint64(now.Total)))
	if took > time.Second {
		left := time.Duration(float64(took) * (1 - part) / part).Round(time.Second)
		s += fmt.Sprintf(", %s/s, %s left", humanize.IBytes(uint64(float64(now.Done)/took.Seconds())), left)
	}
	return s
}
