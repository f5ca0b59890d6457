// Command compat runs other people's suites, tools and clients against Forebay: what
// docs/compatibility.md says is what it has found.
//
// Each run of a suite gets fresh brokers, a scratch directory and a log file of its own, below
// the directory that -dir names, and everything is stopped afterwards. What came of it is kept
// in a results file, one entry for each suite and number of brokers, so that suites can be run
// one at a time; -docs writes the table from it.
//
// The exit code is 0 if all came out as the suites say, 1 if a case failed that is not known
// to, or passed although it is known to fail, and 2 if a suite could not be run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/forebaylog/forebay/localstack/compat/clients"
	"github.com/forebaylog/forebay/localstack/compat/console"
	"github.com/forebaylog/forebay/localstack/compat/differential"
	"github.com/forebaylog/forebay/localstack/compat/gosuites"
	"github.com/forebaylog/forebay/localstack/compat/javasuites"
	"github.com/forebaylog/forebay/localstack/compat/kcat"
	"github.com/forebaylog/forebay/localstack/compat/suite"
)

// allSuites are the suites there are, in the order in which they run.
func allSuites() []suite.Suite {
	return slices.Concat(
		gosuites.Suites(),
		console.Suites(),
		kcat.Suites(),
		javasuites.Suites(),
		clients.Suites(),
		differential.Suites(),
	)
}

// config is the command line.
type config struct {
	suites  []string // names; none: all
	nodes   []int    // none: as the suites say
	list    bool
	prepare bool   // only install
	docs    string // file whose table is written; none if empty
	results string // file
	dir     string // of scratch directories and logs
	tools   string // what suites install goes there
	binary  string // a built forebay; built if empty
	apache  bool   // Apache Kafka in place of Forebay
	keep    bool   // the directories of the brokers
	jars    string // of Apache Kafka
	minio   string // path of the MinIO server
	node    string // directory that dynalite is installed in
}

func parse(args []string) (config, error) {
	var c config
	var suites, nodes string
	flags := flag.NewFlagSet("compat", flag.ContinueOnError)
	flags.StringVar(&suites, "suite", "", "the suites to run, with commas between; default: all")
	flags.StringVar(&nodes, "nodes", "", "the numbers of brokers to run against, of those that a suite has, with commas between; default: all of them")
	flags.BoolVar(&c.list, "list", false, "list the suites")
	flags.BoolVar(&c.prepare, "prepare", false, "install what the suites need and run nothing")
	flags.StringVar(&c.docs, "docs", "", "write the table of results into this file, and run only the suites that -suite names")
	flags.StringVar(&c.results, "results", "bin/compat.json", "the file that results are kept in")
	flags.StringVar(&c.dir, "dir", "bin/compat", "where logs and scratch directories are made")
	flags.StringVar(&c.tools, "tools", toolsCache(), "where suites are installed; default: the cache of tools/install")
	flags.StringVar(&c.binary, "binary", "", "a built forebay; it is built if empty")
	flags.BoolVar(&c.apache, "apache", false, "run against Apache Kafka, to find out whether a failure is Forebay's or the suite's; best with -results and -dir of its own")
	flags.BoolVar(&c.keep, "keep", false, "keep the scratch and data directories")
	flags.StringVar(&c.jars, "jars", os.Getenv("FOREBAY_JARS"), "Apache Kafka's jars, as tools/install java prints it; default: FOREBAY_JARS")
	flags.StringVar(&c.minio, "minio", os.Getenv("FOREBAY_MINIO"), "the MinIO server, as \"$(tools/install minio)/minio\"; default: FOREBAY_MINIO")
	flags.StringVar(&c.node, "node", os.Getenv("FOREBAY_NODE"), "the directory of dynalite, as tools/install node prints it; default: FOREBAY_NODE")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	c.suites = fields(suites)
	for _, f := range fields(nodes) {
		n, err := strconv.Atoi(f)
		if err != nil || n < 1 {
			return c, fmt.Errorf("-nodes %q: want numbers of brokers", nodes)
		}
		c.nodes = append(c.nodes, n)
	}
	for _, dir := range []*string{&c.dir, &c.tools} {
		var err error
		if *dir, err = filepath.Abs(*dir); err != nil {
			return c, fmt.Errorf("find %s: %w", *dir, err)
		}
	}
	return c, nil
}

func fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// toolsCache is the cache of tools/install, by its rules.
func toolsCache() string {
	if dir := os.Getenv("FOREBAY_TOOLS"); dir != "" {
		return filepath.Join(dir, "compat")
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = ".tools"
	}
	return filepath.Join(dir, "forebay", "compat")
}

// Exit codes.
const (
	exitOK         = 0
	exitUnexpected = 1
	exitBroken     = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := mainCode(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func mainCode(ctx context.Context, args []string, out, messages io.Writer) int {
	cfg, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	unexpected := 0
	if err == nil {
		unexpected, err = compat(ctx, cfg, out)
	}
	switch {
	case err != nil:
		fmt.Fprintln(messages, "compat:", err)
		return exitBroken
	case unexpected > 0:
		fmt.Fprintf(messages, "compat: %d unexpected\n", unexpected)
		return exitUnexpected
	}
	return exitOK
}

// compat does what the command line asks for and returns how much was not as expected.
func compat(ctx context.Context, cfg config, out io.Writer) (unexpected int, err error) {
	all := allSuites()
	chosen, err := choose(all, cfg.suites)
	if err != nil {
		return 0, err
	}
	if cfg.list {
		for _, s := range chosen {
			fmt.Fprintf(out, "%-18s %v  %s\n", s.Name, s.Nodes, s.About)
		}
		return 0, nil
	}
	if cfg.docs == "" || len(cfg.suites) > 0 {
		if unexpected, err = runAll(ctx, cfg, chosen, out); err != nil {
			return unexpected, err
		}
	}
	if cfg.docs == "" {
		return unexpected, nil
	}
	results, err := readResults(cfg.results)
	if err != nil {
		return unexpected, err
	}
	return unexpected, writeDocs(cfg.docs, all, results)
}

// choose returns the suites of these names, all if there are none.
func choose(all []suite.Suite, names []string) (chosen []suite.Suite, err error) {
	if len(names) == 0 {
		return all, nil
	}
	for _, name := range names {
		i := slices.IndexFunc(all, func(s suite.Suite) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no suite %q; -list names them", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
