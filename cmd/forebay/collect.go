package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/collect"
)

// collectFlags say how to collect.
type collectFlags struct {
	dir    string
	stores storeFlags
	dryRun bool
	grace  time.Duration
	rate   float64
	alone  bool
}

func (f *collectFlags) register(flags *pflag.FlagSet) {
	f.stores.register(flags)
	flags.BoolVar(&f.dryRun, "dry-run", false, "write and remove nothing; tell what would be removed")
	flags.DurationVar(&f.grace, "grace", collect.DefaultGrace, "how long a thing must have been superfluous before it is removed")
	flags.Float64Var(&f.rate, "rate", 100, "items and objects to remove per second; negative: no limit")
	flags.BoolVar(&f.alone, "alone", false, "no broker and no function runs: any --grace will do")
}

func newCollect() *cobra.Command {
	var out output
	var f collectFlags
	cmd := &cobra.Command{
		Use:   "collect",
		Short: "Remove what nothing names any more from the object store",
		Long: `Look once for packs, WAL objects, snapshots, chain items and unfinished uploads that nothing
names any more, and remove those that a look at least --grace ago found superfluous, too. So the
first run removes nothing: it writes down what it has found. Brokers do the same by themselves;
this command may run beside them, or instead of them, say from a timer.

It works on the stores of a cluster, or with --dir on the data directory of a stopped broker,
which is alone by nature.`,
		Example: `  forebay collect --metadata dynamodb://my-log?region=eu-central-1 --object-store s3://my-log/prod?region=eu-central-1
  forebay collect --dir forebay-data --dry-run -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runCollect(cmd, out, f) },
	}
	registerDir(cmd, &f.dir)
	f.register(cmd.Flags())
	out.register(cmd.Flags())
	return cmd
}

func runCollect(cmd *cobra.Command, out output, f collectFlags) (err error) {
	ctx := cmd.Context()
	log, err := logger(cmd, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	line := newProgress(cmd)
	cfg := collect.Config{
		AuditKept: admin.AuditKept,
		Grace:     f.grace, Alone: f.alone, Rate: f.rate, DryRun: f.dryRun, Logger: log,
		Progress: func(stage string, done int64) { line.show("%s: %d", stage, done) },
	}
	closeStores, err := f.open(cmd, &cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStores()) }()
	cfg.Image = func(ctx context.Context) (*metalog.Image, error) {
		return metalog.Load(ctx, cfg.Metadata, cfg.Objects)
	}
	if err := cfg.Validate(); err != nil {
		return usageErrorf("%v, or say --alone", err)
	}
	report, err := collect.New(cfg).Run(ctx)
	line.done()
	if err != nil {
		return err
	}
	if err := out.print(cmd, report, collectedTables(report, f.dryRun)...); err != nil || len(report.Damaged) == 0 {
		return err
	}
	return damaged(fmt.Errorf("%d places cannot be read, and things were kept because of them", len(report.Damaged)))
}

// open opens what is to be collected.
func (f collectFlags) open(cmd *cobra.Command, cfg *collect.Config) (func() error, error) {
	if f.stores == (storeFlags{}) {
		d, err := openCollected(f.dir, f.dryRun)
		if err != nil {
			return nil, err
		}
		cfg.Metadata, cfg.Objects, cfg.Alone = d.control, d.objects, true
		return d.close, nil
	}
	if f.dryRun {
		d, err := f.stores.openReadOnly(cmd)
		if err != nil {
			return nil, err
		}
		cfg.Metadata, cfg.Objects = d.control, d.objects // which has the WAL store in it
		return d.close, nil
	}
	s, err := f.stores.open(cmd.Context(), cfg.Logger, prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	cfg.Metadata, cfg.Objects = s.control, s.objects
	if s.wal != nil {
		cfg.WAL = s.wal
	}
	return s.close, nil
}

// openCollected opens the data directory of a stopped broker, to write unless it is a dry run.
func openCollected(path string, dryRun bool) (*dataDir, error) {
	d, broken, err := openStopped(path)
	if err != nil {
		return nil, err
	}
	if err := broken[controlFile]; err != nil {
		return nil, errors.Join(damaged(err), d.close())
	}
	if dryRun {
		return d, nil
	}
	if err := d.close(); err != nil {
		return nil, err
	}
	return openDataDir(path)
}

// collectedTables are what was found and done.
func collectedTables(r collect.Report, dryRun bool) []*table {
	t := newTable("KIND", "KEPT", "SIZE", "SUPERFLUOUS", "SIZE", "REMOVED", "SIZE")
	t.title = fmt.Sprintf("removed %d objects of %s and %d items of chains",
		r.Removed().Objects, humanize.IBytes(uint64(r.Removed().Bytes)), r.Items.Removed)
	if r.Late {
		t.title += "; time was over before all was removed that is due: run it again"
	}
	if dryRun {
		t.title = fmt.Sprintf("%d items and objects would be removed", r.Due)
	}
	for _, kind := range []struct {
		name string
		collect.Tally
	}{{"packs", r.Packs}, {"wal", r.WAL}, {"snapshots", r.Snapshots}, {"archive", r.Archive}, {"unknown", r.Unknown}} {
		row := []any{kind.name}
		for _, c := range []collect.Count{kind.Kept, kind.Superfluous, kind.Removed} {
			row = append(row, c.Objects, humanize.IBytes(uint64(c.Bytes)))
		}
		t.add(row...)
	}
	for _, kind := range []struct {
		name string
		collect.Items
	}{{"chain items", r.Items}, {"chains", r.Chains}, {"uploads", r.Uploads}} {
		t.add(kind.name, kind.Kept, "-", kind.Superfluous, "-", kind.Removed, "-")
	}
	if len(r.Damaged) == 0 {
		return []*table{t}
	}
	found := newTable("PLACE", "CANNOT BE READ")
	for _, d := range r.Damaged {
		found.add(d.Place, d.Error)
	}
	return []*table{t, found}
}
