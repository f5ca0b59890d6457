// Package suite says what a compatibility suite is: other people's tests, tools or
// clients, run against Forebay, and what came of each of their cases.
package suite

import (
	"context"
	"io"
	"time"

	"github.com/forebaylog/forebay/localstack/rig"
)

// Outcome is what came of a case.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped" // by the suite itself, or never run; Reason says why
)

// Case is one test of a suite, or one thing that was tried with a tool or client.
type Case struct {
	Name    string // as the suite calls it
	Outcome Outcome
	Reason  string // why it failed or was skipped
	Took    time.Duration
}

// Suite is a set of cases that are run together.
type Suite struct {
	Name  string // short, in lower case: kgo, sarama, streams
	About string // what it is, with its version
	// Nodes are the numbers of brokers that it is run against, each in a run of its own: 1 is
	// a broker alone with everything embedded, others are clusters on MinIO and dynalite.
	Nodes []int
	// Settings are broker configs that it needs, by Kafka's names.
	Settings map[string]string
	// Addrs are the addresses that a broker must listen on; empty ones, and nil, are free ones.
	Addrs func(id int32) (kafka, admin string)
	// Advertised is the address that clients are told of a broker, if it is not the one that
	// it listens on. nil: it is.
	Advertised func(id int32) string
	// Limit bounds one run.
	Limit time.Duration
	// Known are cases that fail or are skipped for a reason that Forebay rightly has, by
	// name, with the reason. The name of a case stands for all below it (name/...), and
	// name@3 for runs against three brokers only. An entry whose cases all pass is an error of
	// this list.
	Known map[string]string
	// Prepare installs and builds what it runs, from the registries, into dir, which is kept
	// between runs. It may be nil.
	Prepare func(ctx context.Context, dir string, log io.Writer) error
	// Run runs it. An error says that it could not be run, as opposed to cases that failed.
	Run func(ctx context.Context, t *Target) ([]Case, error)
}

// Target is what a run is given.
type Target struct {
	Brokers []string     // Kafka addresses, host:port
	Cluster *rig.Cluster // the brokers, to be killed and started on the way; also of one broker
	Java    *rig.Java    // Apache Kafka's jars
	Dir     string       // scratch, empty
	Tools   string       // what Prepare made
	Binary  string       // the forebay binary
	Log     io.Writer    // what the suite says, kept in a file
	// Restart starts the brokers anew with other settings or addresses: for suites that
	// demand ports of their own. nil keeps what is.
	Restart func(ctx context.Context, settings map[string]string, addrs func(id int32) (kafka, admin string)) error
}
