package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/cmd/forebay/internal/audit"
)

func newVerify() *cobra.Command {
	var out output
	var from source
	var cluster clusterFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that a data directory, or the log of a cluster, is whole",
		Long: `Prove from the data directory alone, while the broker is stopped, that every byte is
what was written and that no offset of any partition is missing: the tables, the
metadata log, the hot segments, the chains, the packs and the committed offsets.

What is found is either damage, and the exit code is 4, or harmless: an index that
will be rebuilt, or an object that nothing names. After a crash the torn end of the
newest hot segment is reported as damage too, for it cannot be told from damage; the
broker cuts it off when it starts, since none of it was acknowledged.

Of a cluster, whose brokers are all stopped, give the stores instead: the metadata log,
every chain from its log start, each byte of every pack and WAL object, what the streams
have beyond the chains, the committed offsets and the transactions. Every object is
accounted for, and it is said what each topic costs. Nothing is written to the stores.
With --state an interrupted run goes on where it was.`,
		Example: `  forebay verify --dir forebay-data
  forebay verify --dir forebay-data -o json | jq '.findings'
  forebay verify --object-store s3://my-log/prod?region=eu-central-1 --metadata dynamodb://my-log?region=eu-central-1 --state notes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cluster.check(cmd, from.stores); err != nil {
				return err
			}
			if from.stores != (storeFlags{}) {
				return runVerifyCluster(cmd, out, from.stores, cluster)
			}
			return runVerify(cmd, out, from.dir)
		},
	}
	from.register(cmd)
	cluster.register(cmd.Flags())
	out.register(cmd.Flags())
	return cmd
}

// verified is the document of verify.
type verified struct {
	Dir string `json:"dir"`
	audit.Summary
	Findings []audit.Finding `json:"findings"`
}

func runVerify(cmd *cobra.Command, out output, path string) (err error) {
	d, broken, err := openStopped(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	line := newProgress(cmd)
	doc := verified{Dir: path, Findings: []audit.Finding{}}
	doc.Summary, err = audit.Run(cmd.Context(), auditDir(d, broken),
		func(f audit.Finding) { doc.Findings = append(doc.Findings, f) },
		func(stage string) { line.show("verifying %s", stage) })
	line.done()
	if err != nil {
		return err
	}
	if err := out.print(cmd, doc, doc.tables()...); err != nil || doc.Damage == 0 {
		return err
	}
	return damaged(fmt.Errorf("%s is damaged in %d places", path, doc.Damage))
}

func auditDir(d *dataDir, broken map[string]error) audit.Dir {
	return audit.Dir{
		Path: filepath.ToSlash(d.path), FS: d.fs, Marker: checkMarker(d.path), Objects: d.objects,
		Tables: map[string]audit.Table{
			controlFile: {Store: d.control, Err: broken[controlFile]},
			offsetsFile: {Store: d.offsets, Err: broken[offsetsFile]},
		},
		Control: controlFile, Offsets: offsetsFile, Hot: broker.HotDir, Index: broker.IndexDir, Folder: objectsDir,
		Known: []string{lockFile, markerTemp, broker.KeysDir},
	}
}

// tables are what was looked at and, if there is any, what was found.
func (v verified) tables() []*table {
	looked := newTable()
	looked.title = fmt.Sprintf("%s: %d damaged, %d harmless findings", v.Dir, v.Damage, v.Harmless)
	if len(v.Findings) == 0 {
		looked.title = v.Dir + " is whole"
	}
	looked.add("cluster", v.Cluster)
	looked.add("metadata", fmt.Sprintf("%d topics with %d partitions, in %d slots", v.Topics, v.Partitions, v.Slots))
	looked.add("hot", fmt.Sprintf("%d segments of %s with %d batches, %d of them indexed", v.Segments, humanize.IBytes(uint64(v.HotBytes)), v.Batches, v.Indexed))
	looked.add("sealed", fmt.Sprintf("%d segments of %s with %d records, in %d packs", v.Links, humanize.IBytes(uint64(v.PackBytes)), v.Sealed, v.Packs))
	looked.add("offsets", fmt.Sprintf("of %d groups", v.Groups))
	if len(v.Findings) == 0 {
		return []*table{looked}
	}
	found := newTable("SEVERITY", "CHECK", "PLACE", "WHAT")
	for _, f := range v.Findings {
		found.add(string(f.Severity), f.Check, f.Place(), f.What)
	}
	return []*table{looked, found}
}
