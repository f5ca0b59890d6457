package main

import (
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// newRoot builds the command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "forebay",
		Short: "A log service that speaks the Kafka protocol and keeps its log in an object store",
		Long: `Forebay is a log service that speaks the Kafka protocol and keeps its log in an object store.

Every flag can also be set in the environment (--kafka-addr as FOREBAY_KAFKA_ADDR)
or in a YAML file (kafka-addr: ...) named by --config. A flag wins over the
environment, which wins over the file.

Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 3 no broker
reachable, 4 damaged data found, 130 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return applyConfig(cmd, os.LookupEnv)
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageErrorf("%v", err) })
	flags := root.PersistentFlags()
	flags.String("config", "", "YAML file with settings under the names of the flags")
	flags.String("log-level", "info", "debug, info, warn or error")
	flags.String("log-format", "text", "text or json")
	root.AddCommand(newDev(), newBroker(), newTopic(), newProduce(), newConsume(), newGroup(), newTransaction(), newTiering(), newSink(), newBench(), newInspect(), newVerify(), newCollect(), newAudit(), newHealth(), newStatus(), newDoctor(), newIAM(), newVersion())
	finishTree(root)
	return root
}

// logger writes to w as --log-level and --log-format say.
func logger(cmd *cobra.Command, w io.Writer) (*slog.Logger, error) {
	levelName, _ := cmd.Flags().GetString("log-level")
	format, _ := cmd.Flags().GetString("log-format")
	var level slog.Level
	if err := level.UnmarshalText([]byte(levelName)); err != nil {
		return nil, usageErrorf("log level %q: use debug, info, warn or error", levelName)
	}
	options := &slog.HandlerOptions{Level: level}
	switch strings.ToLower(format) {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usageErrorf("log format %q: use text or json", format)
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
