package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// doctorFlags say what to look at.
type doctorFlags struct {
	client  clientFlags
	stores  storeFlags
	dataDir string
}

func newDoctor() *cobra.Command {
	var out output
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what a cluster stands on, and say how to mend it",
		Long: `Check what a cluster stands on, and say how to mend what is wrong.

With --object-store and --metadata it tries from here what a broker does with them: reach them, the rights,
conditional writes, the clock against theirs, and whether they belong together. It writes
small objects below probe/ and items that it removes again, as a broker does when it starts. Then it looks at
the brokers that the metadata has, or without stores at those that --brokers names: whether they are alive
and whether each is reached at the address that it gives to clients.

The exit code is 1 if anything failed. A warning is no failure.`,
		Example: `  forebay doctor -b 127.0.0.1:9092
  forebay doctor --object-store s3://my-log/prod?region=eu-central-1 --metadata dynamodb://my-log?region=eu-central-1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd, out, f) },
	}
	flags := cmd.Flags()
	f.client.register(flags)
	f.stores.register(flags)
	flags.StringVar(&f.dataDir, "data-dir", "", "a broker's data directory to check, too")
	out.register(flags)
	return cmd
}

// Outcomes of a check.
const (
	checkOK      = "ok"
	checkWarning = "warning"
	checkFailed  = "failed"
	checkSkipped = "skipped"
)

// finding is what came of a check.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // ok, warning, failed or skipped
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"`
	Millis int64  `json:"took_ms"`
}

// diagnosis is what a doctor has found, and what later checks need of earlier ones.
type diagnosis struct {
	flags    doctorFlags
	findings []finding
	cluster  *doctoredCluster // nil: its metadata was not read
}

// check adds what f finds. f returns what it saw and, for what is wrong, an error: see mendable and warn.
func (d *diagnosis) check(ctx context.Context, name string, f func(ctx context.Context) (string, error)) bool {
	limited, cancel := context.WithTimeout(ctx, d.flags.client.timeout)
	defer cancel()
	began := time.Now()
	detail, err := f(limited)
	found := finding{Check: name, Status: checkOK, Detail: detail, Millis: time.Since(began).Milliseconds()}
	if err != nil {
		found.Status, found.Mend = checkFailed, mend(err)
		if detail != "" {
			detail += ": "
		}
		found.Detail = detail + err.Error()
		if isWarning(err) {
			found.Status = checkWarning
		}
	}
	d.findings = append(d.findings, found)
	return err == nil || isWarning(err)
}

func (d *diagnosis) skip(name, reason string) {
	d.findings = append(d.findings, finding{Check: name, Status: checkSkipped, Detail: reason})
}

func runDoctor(cmd *cobra.Command, out output, f doctorFlags) error {
	if f.client.timeout <= 0 {
		return usageErrorf("--timeout %v: must be more than zero", f.client.timeout)
	}
	if (f.stores.objectStore == "") != (f.stores.metadata == "") || f.stores.walStore != "" && f.stores.objectStore == "" {
		return usageErrorf("--object-store and --metadata go together")
	}
	log, err := logger(cmd, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	d := &diagnosis{flags: f}
	ctx := cmd.Context()
	if f.stores.objectStore != "" {
		d.checkStores(ctx, log)
	}
	if f.dataDir != "" {
		d.check(ctx, "data directory", func(context.Context) (string, error) { return checkDataDir(f.dataDir) })
	}
	if d.cluster != nil && !cmd.Flags().Changed("brokers") {
		d.checkAdvertised(ctx)
	} else {
		d.checkBrokers(ctx)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return d.print(cmd, out)
}

// print shows the findings, with what to do below them.
func (d *diagnosis) print(cmd *cobra.Command, out output) error {
	t, mends := newTable("CHECK", "STATUS", "FOUND"), newTable()
	failed := 0
	for _, found := range d.findings {
		t.add(found.Check, found.Status, strings.ReplaceAll(found.Detail, "\n", " "))
		if found.Status == checkFailed {
			failed++
		}
		if found.Mend != "" {
			mends.add(found.Check+":", found.Mend)
		}
	}
	tables := []*table{t}
	if len(mends.rows) > 0 {
		mends.title = "What to do"
		tables = append(tables, mends)
	}
	if err := out.print(cmd, d.findings, tables...); err != nil || failed == 0 {
		return err
	}
	return fmt.Errorf("%d of %d checks failed", failed, len(d.findings))
}
