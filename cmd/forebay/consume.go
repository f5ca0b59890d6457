package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/cmd/forebay/internal/format"
)

type consumeFlags struct {
	client        clientFlags
	format        string
	json          bool
	keyDelimiter  string
	nulls         bool
	fromBeginning bool
	offsets       []string
	partitions    []int32
	max           int64
	exit          bool
	group         string
	isolation     string
}

func newConsume() *cobra.Command {
	var f consumeFlags
	cmd := &cobra.Command{
		Use:   "consume TOPIC...",
		Short: "Print records",
		Long: `Print the records of topics, from the end on unless told otherwise, until interrupted.

The format verbs are kcat's: %t topic, %p partition, %o offset, %k key, %s payload,
%K and %S their lengths in bytes (-1 for null), %R the payload's length in 4 binary
bytes, %T timestamp in ms, %h headers as name=value,name=value, %% a percent sign,
and the escapes \n \r \t \\ \xHH \OOO.

--offset is beginning, end, an offset, -N for the last N of each partition, s@MS to
start and e@MS to stop at a time; the last two may be given together.

With -g the partitions are shared with the other members of the group, and what was
printed is committed, also when interrupted.`,
		Example: `  forebay consume events --from-beginning
  forebay consume events -e --offset -10 -f '%p:%o %k=%s\n'
  forebay consume events -e -J --offset s@1767225600000 --offset e@1769904000000
  forebay consume orders returns -g billing --isolation read_committed`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, topics []string) error { return runConsume(cmd, f, topics) },
	}
	flags := cmd.Flags()
	f.client.register(flags)
	flags.StringVarP(&f.format, "format", "f", "", `what to print of a record; default '%s\n'`)
	flags.BoolVarP(&f.json, "json", "J", false, "print each record as a line of JSON, in kcat's envelope")
	flags.StringVarP(&f.keyDelimiter, "key-delimiter", "K", "", "print the key, this text and the payload")
	flags.BoolVarP(&f.nulls, "null", "Z", false, "print NULL for a null key or payload")
	flags.BoolVar(&f.fromBeginning, "from-beginning", false, "start at the oldest record; with -g where the group has committed nothing")
	flags.StringArrayVarP(&f.offsets, "offset", "o", nil, "where to start or stop: beginning, end, N, -N, s@MS or e@MS; may be repeated")
	flags.Int32SliceVarP(&f.partitions, "partition", "p", nil, "only these partitions")
	flags.Int64VarP(&f.max, "max", "c", 0, "stop after so many records; 0 for no limit")
	flags.BoolVarP(&f.exit, "exit", "e", false, "stop at what was the end of every partition at the start")
	flags.StringVarP(&f.group, "group", "g", "", "consume as a member of this group")
	flags.StringVar(&f.isolation, "isolation", "read_uncommitted", "read_uncommitted or read_committed, for transactions")
	return cmd
}

// printer returns what turns a record into text.
func (f *consumeFlags) printer(flags *pflag.FlagSet) (func([]byte, *kgo.Record) []byte, error) {
	given := 0
	for _, name := range []string{"format", "json", "key-delimiter"} {
		if flags.Changed(name) {
			given++
		}
	}
	if given > 1 {
		return nil, usageErrorf("give one of --format, --json and --key-delimiter")
	}
	text := `%s\n`
	switch {
	case f.json:
		return format.AppendJSON, nil
	case flags.Changed("format"):
		text = f.format
	case flags.Changed("key-delimiter"):
		delimiter, err := format.Unescape(f.keyDelimiter)
		if err != nil {
			return nil, usageErrorf("--key-delimiter: %w", err)
		}
		text = `%k` + format.Escape(delimiter) + `%s\n`
	}
	layout, err := format.Parse(text)
	if err != nil {
		return nil, usageErrorf("--format: %w", err)
	}
	layout.Nulls = f.nulls
	return layout.Append, nil
}

// runConsume prints records until it is done or interrupted.
func runConsume(cmd *cobra.Command, f consumeFlags, topics []string) error {
	text, err := f.printer(cmd.Flags())
	if err != nil {
		return err
	}
	start, err := f.parseStart()
	if err != nil {
		return err
	}
	isolation, err := f.parseIsolation()
	if err != nil {
		return err
	}
	c := &consuming{
		flags: f, topics: topics, start: start, text: text, committed: isolation == kgo.ReadCommitted(),
		out: cmd.OutOrStdout(), progress: newProgress(cmd), positions: map[partition]position{},
	}
	opts := []kgo.Opt{kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords()}
	if f.group != "" {
		opts = append(opts, c.groupOptions()...)
	}
	if c.client, err = f.client.connect(cmd.Context(), opts...); err != nil {
		return err
	}
	defer c.client.CloseAllowingRebalance()
	return c.run(cmd.Context())
}

func (f *consumeFlags) parseIsolation() (kgo.IsolationLevel, error) {
	switch f.isolation {
	case "read_uncommitted":
		return kgo.ReadUncommitted(), nil
	case "read_committed":
		return kgo.ReadCommitted(), nil
	}
	return kgo.IsolationLevel{}, usageErrorf("--isolation %q: use read_uncommitted or read_committed", f.isolation)
}
